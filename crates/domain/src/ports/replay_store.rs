//! What replays leave behind: how often each event was replayed.

use async_trait::async_trait;
use jiff::Timestamp;
use thiserror::Error;

use crate::{
    error::{Retry, StorageFailure},
    position::Position,
};

/// Why a call of [`ReplayStore`] failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayStoreError {
    /// The store itself failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
}

impl ReplayStoreError {
    /// Whether repeating the call can help.
    pub fn retry(&self) -> Retry {
        let Self::Storage(failure) = self;
        failure.retry()
    }
}

/// Keeps replay counts, beside the events and never in them.
///
/// Laws:
/// - `record_replayed` MUST raise the count of every position by one and set its time, all in one step.
/// - The counts MUST show in every read of those events, and nothing else of them MUST change.
/// - Positions that are gone MUST be passed over; one that is named twice in a call counts once.
#[async_trait]
pub trait ReplayStore: Send + Sync {
    /// Counts one more replay of each of these events.
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError>;
}
