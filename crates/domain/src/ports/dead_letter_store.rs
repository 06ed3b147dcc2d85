//! Dead letters, and what people do with them. They are made by a group's commits ([`super::GroupStore::commit`]).

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    dead_letter::{DeadLetter, DeadLetterState, LetterEdit},
    error::StorageFailure,
    filter::Filter,
};

/// Which dead letters. By default those of every group, in any state, a hundred at most.
#[derive(Debug, Clone)]
pub struct DeadLetterQuery {
    /// Of this group; of all when none.
    pub group: Option<String>,
    /// Of these fingerprints; of all when empty.
    pub fingerprints: BTreeSet<String>,
    /// In these states; in any when empty.
    pub states: Vec<DeadLetterState>,
    /// Whose events match.
    pub filter: Arc<Filter>,
    /// After this one, in the order of the list; from the start when none.
    pub after: Option<String>,
    /// At most this many, at least 1.
    pub limit: usize,
}

impl Default for DeadLetterQuery {
    fn default() -> Self {
        Self {
            group: None,
            fingerprints: BTreeSet::new(),
            states: Vec::new(),
            filter: Arc::default(),
            after: None,
            limit: 100,
        }
    }
}

/// What became of a dead letter that was to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterChange {
    /// It was done.
    Done,
    /// It is on its way already, or closed; nothing changed.
    Unchanged(DeadLetterState),
    /// There is no such dead letter.
    Unknown,
    /// Its group was deleted, so no consumer could handle it. Nothing changed.
    NoGroup,
}

/// How many dead letters a group has in a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterCount {
    /// The group.
    pub group: String,
    /// The state.
    pub state: DeadLetterState,
    /// How many.
    pub count: u64,
    /// When the oldest of them was made.
    pub oldest: Timestamp,
}

/// Keeps dead letters.
///
/// Laws:
/// - `dead_letters` MUST give those that match, the oldest first by when they were made and then by id, each once over
///   its pages. A page after a letter that was purged MUST go on behind its place in the order of ids.
/// - Ids MUST be UUIDs of version 7, and sort as the letters were made.
/// - `redrive` MUST set open letters to `Redriving` and put each into its group's lane, in the segment of its key, in one
///   step; letters that are on their way or closed MUST NOT be added again. The lane's bound does not apply.
/// - `discard` MUST close open letters, with the reason; where a letter's key is parked behind it, the key MUST be
///   released through the lane in the same step.
/// - `edit` MUST put an edit on an open letter, in place of an earlier one, or take it away, and MUST leave the letter's own event.
///   Of a letter that is not open it MUST change nothing. Edits MUST go with their letter, and stay through redrives that fail.
/// - `restore` MUST open discarded letters again, without their reason, and no others. A key that was parked behind a letter
///   when it was discarded went on, and MUST NOT be parked again.
/// - Where a group was deleted its letters can be discarded, not redriven.
/// - `purge_dead_letters` MUST remove letters that were closed before an instant, and no others.
/// - The event of a dead letter MUST stay when the log is trimmed, and MUST go when its entity is erased.
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// Dead letters that match.
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StorageFailure>;

    /// Those of these ids; unknown ids are left out.
    async fn dead_letters_by_id(&self, ids: &[String]) -> Result<Vec<DeadLetter>, StorageFailure>;

    /// Sends letters to their consumers again; one answer an id, in order.
    async fn redrive(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, StorageFailure>;

    /// Closes letters unhandled; one answer an id, in order.
    async fn discard(&self, ids: &[String], reason: &str) -> Result<Vec<DeadLetterChange>, StorageFailure>;

    /// Puts an edit on a letter, or takes it away.
    async fn edit(&self, id: &str, edit: Option<&LetterEdit>) -> Result<DeadLetterChange, StorageFailure>;

    /// Opens discarded letters again; one answer an id, in order.
    async fn restore(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, StorageFailure>;

    /// How many there are, by group and state.
    async fn count_dead_letters(&self) -> Result<Vec<DeadLetterCount>, StorageFailure>;

    /// Removes letters that were closed before an instant; how many.
    async fn purge_dead_letters(&self, closed_before: Timestamp) -> Result<u64, StorageFailure>;
}
