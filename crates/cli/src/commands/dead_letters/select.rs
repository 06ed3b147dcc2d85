//! Which dead letters: the filter flags of everywhere, and a few of their own.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use domain::{DeadLetter, DeadLetterState, ports::DeadLetterQuery};
use replay::redrive::Letters as Chosen;

use crate::{
    args::{FilterArgs, filter, group, number},
    errors::CliError,
    store::Stores,
};

/// Dead letters read in one step.
pub(super) const PAGE: usize = 200;

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

    /// Whether any flag says which.
    pub(super) fn says_which(&self, query: &DeadLetterQuery) -> bool {
        self.group.is_some() || !self.fingerprints.is_empty() || !query.filter.is_everything()
    }
}

/// Goes through all letters of a query, a page at a time.
pub(super) struct Letters {
    query: DeadLetterQuery,
    left: Option<u64>,
    done: bool,
}

impl Letters {
    /// At most `limit` letters.
    pub(super) fn new(query: DeadLetterQuery, limit: Option<u64>) -> Self {
        Self { query, left: limit, done: false }
    }

    /// The next page; none at the end.
    pub(super) async fn page(&mut self, stores: &Stores) -> Result<Option<Vec<DeadLetter>>, CliError> {
        if self.done || self.left == Some(0) {
            return Ok(None);
        }
        self.query.limit = self.left.map_or(PAGE, |left| left.min(PAGE as u64) as usize);
        let page = stores.dead_letters.dead_letters(&self.query).await?;
        let Some(last) = page.last() else {
            self.done = true;
            return Ok(None);
        };
        self.query.after = Some(last.id.clone());
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(page.len() as u64);
        }
        Ok(Some(page))
    }

    /// Whether there are more after the limit was reached: where a later call goes on.
    pub(super) async fn next(mut self, stores: &Stores) -> Result<Option<String>, CliError> {
        if self.done || self.left != Some(0) {
            return Ok(None);
        }
        self.query.limit = 1;
        let more = stores.dead_letters.dead_letters(&self.query).await?;
        Ok(if more.is_empty() { None } else { self.query.after })
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
    /// Which letters; `verb` is the command's name.
    pub(super) fn letters(&self, states: Vec<DeadLetterState>, verb: &str) -> Result<Chosen, CliError> {
        let mut query = self.select.query(states)?;
        let says_which = self.select.says_which(&query);
        if !self.ids.is_empty() {
            if says_which || self.all || self.limit.is_some() {
                return Err(CliError::usage("name dead letters by their ids, or by flags, not by both"));
            }
            return Ok(Chosen::Ids(self.ids.clone()));
        }
        if !says_which && !self.all {
            return Err(CliError::usage(format!("{verb} wants to know which dead letters"))
                .hint("name their ids, --group, --fingerprint or --type …, or add --all"));
        }
        query.limit = self.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Chosen::Matching(query))
    }
}

/// How many of the chosen letters are there, in one of these states.
pub(super) async fn count_matching(
    stores: &Stores,
    letters: Chosen,
    states: &[DeadLetterState],
) -> Result<u64, CliError> {
    match letters {
        Chosen::Ids(ids) => {
            let found = stores.dead_letters.dead_letters_by_id(&ids).await?;
            Ok(found.iter().filter(|letter| states.contains(&letter.state)).count() as u64)
        }
        Chosen::Matching(query) => {
            let limit = query.limit as u64;
            let mut letters = Letters::new(query, Some(limit));
            let mut found = 0;
            while let Some(page) = letters.page(stores).await? {
                found += page.len() as u64;
            }
            Ok(found)
        }
    }
}
