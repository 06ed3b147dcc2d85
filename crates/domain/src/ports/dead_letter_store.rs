//! The port of dead letters. A group's commits make dead letters ([`super::GroupStore::commit`]), and operators
//! redrive, edit or close them.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::{
    dead_letter::{DeadLetter, DeadLetterState, LetterEdit},
    error::StorageFailure,
    filter::Filter,
};

/// A selection of dead letters. By default, it selects the dead letters of every group, in any state, at most 100.
#[derive(Debug, Clone)]
pub struct DeadLetterQuery {
    /// Group of the dead letters. None means all groups.
    pub group: Option<String>,
    /// Fingerprints of the dead letters. Empty means all fingerprints.
    pub fingerprints: BTreeSet<String>,
    /// States of the dead letters. Empty means all states.
    pub states: Vec<DeadLetterState>,
    /// Filter that the events must match.
    pub filter: Arc<Filter>,
    /// Id of the dead letter after which the page begins, in the order of the list. None starts at the first one.
    pub after: Option<String>,
    /// Most dead letters to return, at least 1.
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

/// Outcome of a change of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterChange {
    /// The change was made.
    Done,
    /// The state of the dead letter does not allow the change: it is being redriven, or closed. Nothing changed.
    Unchanged(DeadLetterState),
    /// There is no such dead letter.
    Unknown,
    /// The group was deleted, so no consumer could handle the dead letter. Nothing changed.
    NoGroup,
}

/// Number of a group's dead letters in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetterCount {
    /// Name of the group.
    pub group: String,
    /// State of the counted dead letters.
    pub state: DeadLetterState,
    /// Number of dead letters.
    pub count: u64,
    /// Time at which the oldest of these dead letters was made.
    pub oldest: Timestamp,
}

/// Keeps dead letters.
///
/// Laws:
/// - `dead_letters` MUST return the matching dead letters, the oldest first: sorted by the time at which they were
///   made, then by id. Each occurs once over all pages. If the letter named by `after` was purged, the page MUST
///   continue after that letter's place in the order of ids.
/// - Ids MUST be UUIDs of version 7, and sort in the order in which the letters were made.
/// - `redrive` MUST set open letters to `Redriving` and add each to its group's lane, in the segment of its key, in
///   one step. Letters that are being redriven or are closed MUST NOT be added again. The bound of the lane does not
///   apply.
/// - `discard` MUST close open letters, with the reason. If the key of a letter is parked behind it, the key MUST be
///   released through the lane in the same step.
/// - `edit` MUST set an edit on an open letter, in place of an earlier edit, or remove the edit. It MUST NOT change
///   the letter's own event. Of a letter that is not open, it MUST change nothing. Edits MUST be removed with their
///   letter, and stay through redrives that fail.
/// - `restore` MUST reopen discarded letters, without their reason, and no others. If a key was parked behind a
///   letter at its discard, the discard has released the key, and the key MUST NOT be parked again.
/// - The letters of a deleted group can be discarded but not redriven.
/// - `purge_dead_letters` MUST remove letters that were closed before an instant, and no others.
/// - The event of a dead letter MUST stay when the log is trimmed, and MUST be removed when its entity is erased.
#[async_trait]
pub trait DeadLetterStore: Send + Sync {
    /// Returns the matching dead letters.
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StorageFailure>;

    /// Returns the dead letters of these ids. Unknown ids are left out.
    async fn dead_letters_by_id(&self, ids: &[String]) -> Result<Vec<DeadLetter>, StorageFailure>;

    /// Redrives dead letters. Returns one outcome for each id, in order.
    async fn redrive(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, StorageFailure>;

    /// Closes dead letters without handling them. Returns one outcome for each id, in order.
    async fn discard(&self, ids: &[String], reason: &str) -> Result<Vec<DeadLetterChange>, StorageFailure>;

    /// Sets or removes the edit of a dead letter.
    async fn edit(&self, id: &str, edit: Option<&LetterEdit>) -> Result<DeadLetterChange, StorageFailure>;

    /// Reopens discarded dead letters. Returns one outcome for each id, in order.
    async fn restore(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, StorageFailure>;

    /// Returns the number of dead letters by group and state.
    async fn count_dead_letters(&self) -> Result<Vec<DeadLetterCount>, StorageFailure>;

    /// Removes dead letters that were closed before an instant. Returns their number.
    async fn purge_dead_letters(&self, closed_before: Timestamp) -> Result<u64, StorageFailure>;
}
