//! The flags that select dead letters: the common filter flags and some flags of these commands.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use domain::{DeadLetterState, ports::DeadLetterQuery};
use event_replay::app::dead_letters::{LetterSelection, NOT_CLOSED, PAGE};
use replay::redrive::Letters;

use crate::{
    args::{FilterArgs, filter, group, number},
    complete,
    errors::CliError,
};

const HEADING: &str = "Which dead letters";

/// Which dead letters, beside the flags that say which events.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = HEADING)]
pub(super) struct SelectArgs {
    /// Dead letters of this group.
    #[arg(long, value_name = "NAME", value_parser = group::name, add = complete::groups())]
    pub(super) group: Option<String>,
    /// Dead letters with this fingerprint, as `list` shows it.
    #[arg(long = "fingerprint", value_name = "FINGERPRINT", value_parser = filter::name)]
    pub(super) fingerprints: Vec<String>,
    #[command(flatten)]
    pub(super) filter: FilterArgs,
}

/// The state of dead letters, as `--state` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StateArg {
    /// Not handled, and not closed.
    Open,
    /// Sent to their group again.
    Redriving,
    /// Handled after a redrive.
    Handled,
    /// Closed without handling.
    Discarded,
    /// Any of these.
    All,
}

/// Returns the states that the flags name. Without flags, returns open and redriving. An empty list means all states.
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
    /// Returns the query that the flags describe.
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
    /// Ids of dead letters, or unique prefixes of them.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::dead_letters())]
    ids: Vec<String>,
    /// All of them.
    #[arg(long, help_heading = HEADING)]
    all: bool,
    /// At most this many, the oldest first.
    #[arg(short = 'n', long, help_heading = HEADING, value_name = "N", value_parser = number::limit, allow_hyphen_values = true)]
    limit: Option<u64>,
    #[command(flatten)]
    select: SelectArgs,
}

impl ChosenArgs {
    /// Returns the selection of open dead letters. `verb` is the name of the command.
    pub(super) fn letters(&self, verb: &'static str) -> Result<Letters, CliError> {
        self.letters_in(verb, DeadLetterState::Open)
    }

    /// Returns the selection of dead letters in a state. `verb` is the name of the command.
    pub(super) fn letters_in(&self, verb: &'static str, state: DeadLetterState) -> Result<Letters, CliError> {
        let selection = LetterSelection {
            ids: self.ids.clone(),
            all: self.all,
            limit: self.limit,
            query: self.select.query(vec![state])?,
        };
        Ok(selection.resolve(verb)?)
    }
}
