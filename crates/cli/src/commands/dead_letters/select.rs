//! Which dead letters: the filter flags of everywhere, and a few of their own.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use domain::{DeadLetterState, ports::DeadLetterQuery};
use event_replay::app::dead_letters::{LetterSelection, PAGE};
use replay::redrive::Letters;

use crate::{
    args::{FilterArgs, filter, group, number},
    errors::CliError,
};

const HEADING: &str = "Which dead letters";

/// Which dead letters, beside the flags that say which events.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = HEADING)]
pub(super) struct SelectArgs {
    /// Those of this group.
    #[arg(long, value_name = "NAME", value_parser = group::name)]
    pub(super) group: Option<String>,
    /// Those that failed alike: the fingerprint that `list` shows.
    #[arg(long = "fingerprint", value_name = "FINGERPRINT", value_parser = filter::name)]
    pub(super) fingerprints: Vec<String>,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
}

/// What has become of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StateArg {
    /// They wait for somebody to look at them.
    Open,
    /// They are on their way to their group again.
    Redriving,
    /// A redrive was handled.
    Handled,
    /// Somebody closed them unhandled.
    Discarded,
    /// Any of these.
    All,
}

/// What is shown where nobody says which: what is not closed.
const NOT_CLOSED: [DeadLetterState; 2] = [DeadLetterState::Open, DeadLetterState::Redriving];

/// The states that flags name; none: all of them.
pub(super) fn states(asked: &[StateArg]) -> Vec<DeadLetterState> {
    if asked.is_empty() {
        return NOT_CLOSED.to_vec();
    }
    if asked.contains(&StateArg::All) {
        return vec![];
    }
    let of = |state: &StateArg| match state {
        StateArg::Open => Some(DeadLetterState::Open),
        StateArg::Redriving => Some(DeadLetterState::Redriving),
        StateArg::Handled => Some(DeadLetterState::Handled),
        StateArg::Discarded => Some(DeadLetterState::Discarded),
        StateArg::All => None,
    };
    asked.iter().filter_map(of).collect()
}

impl SelectArgs {
    /// The query that the flags name.
    pub(super) fn query(&self, states: Vec<DeadLetterState>) -> Result<DeadLetterQuery, CliError> {
        Ok(DeadLetterQuery {
            group: self.group.clone(),
            fingerprints: self.fingerprints.iter().cloned().collect(),
            states,
            filter: Arc::new(self.filter.filter()?),
            after: None,
            limit: PAGE,
        })
    }
}

/// Dead letters that something is to be done with: by id, or by flags, or all of them.
#[derive(Debug, Clone, Args)]
pub(super) struct ChosenArgs {
    /// Ids of dead letters, as `dead-letters list` shows them.
    #[arg(value_name = "ID", value_parser = filter::name)]
    ids: Vec<String>,
    /// All open dead letters are meant.
    #[arg(long, help_heading = HEADING)]
    all: bool,
    /// At most this many, the oldest first.
    #[arg(long, help_heading = HEADING, value_name = "N", value_parser = number::limit, allow_hyphen_values = true)]
    limit: Option<u64>,
    #[command(flatten)]
    select: SelectArgs,
}

impl ChosenArgs {
    /// Which open letters; `verb` is the command's name.
    pub(super) fn letters(&self, verb: &'static str) -> Result<Letters, CliError> {
        let selection = LetterSelection {
            ids: self.ids.clone(),
            all: self.all,
            limit: self.limit,
            query: self.select.query(vec![DeadLetterState::Open])?,
        };
        Ok(selection.resolve(verb)?)
    }
}
