//! The port of replays: the replay count of each event, and the record of each replay.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    error::{Retry, StorageFailure},
    group::LaneResult,
    position::{Cursor, Position},
};

/// State of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplayState {
    /// The replay waits for a runner.
    Planned,
    /// A runner runs the replay.
    Running,
    /// An operator paused the replay.
    Paused,
    /// An operator cancelled the replay, and its runner has not stopped yet.
    Cancelling,
    /// The replay was cancelled before its end.
    Cancelled,
    /// The replay has reached its end.
    Completed,
    /// The replay ended with an error.
    Failed,
}

impl ReplayState {
    /// Returns whether the state is final: cancelled, completed or failed.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Cancelled | Self::Completed | Self::Failed)
    }
}

/// The record of a replay. The replay engine defines the texts of plan, progress and steering. A store does not parse them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRecord {
    /// Id of the replay.
    pub id: String,
    /// State of the replay.
    pub state: ReplayState,
    /// Time at which the replay was made.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
    /// Events, target and settings of the replay. They are frozen when the replay is made.
    pub plan: String,
    /// Progress of the replay, with its report.
    pub progress: String,
    /// Changes that an operator made to the replay after it was created; none until the first one.
    pub steering: Option<String>,
    /// Mark after which the replay still needs the events. None if it needs no further events.
    pub hold: Option<Cursor>,
}

/// The right to run a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayLease {
    /// Id of the replay.
    pub replay_id: String,
    /// Fencing token. Each lease of the replay has a higher number than the lease before it.
    pub epoch: u64,
    /// Random number that the runner draws.
    pub token: u64,
}

/// A step of a replay's runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayUpdate {
    /// New state of the replay. A pause or cancel command that arrived during the step stays in effect. The
    /// exceptions are a final state here, and a state that answers the command ([`ReplayState::Paused`] answers a
    /// pause command).
    pub state: ReplayState,
    /// Progress of the replay.
    pub progress: String,
    /// Mark after which the replay still needs the events.
    pub hold: Option<Cursor>,
    /// Number below which the results of batches are included in `progress`. The store removes these results. The
    /// number that a store keeps never falls. A batch below it is
    /// [`EnqueueOutcome::AlreadyQueued`](super::EnqueueOutcome::AlreadyQueued).
    pub settled_batches: u64,
}

/// A command to a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayCommand {
    /// Pause the replay.
    Pause,
    /// Resume the replay.
    Resume,
    /// Cancel the replay.
    Cancel,
}

/// Errors of [`ReplayStore`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayStoreError {
    /// The store itself failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// A replay with this id exists.
    #[error("there is a replay {0} already")]
    Exists(String),
    /// Another runner has taken over the replay. Nothing was changed.
    #[error("another runner has taken the replay over")]
    Fenced,
}

impl ReplayStoreError {
    /// Returns whether a repeated call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Storage(failure) => failure.retry(),
            _ => Retry::Never,
        }
    }
}

/// Keeps the records of replays, and the replay counts. The counts are beside the events and never in them.
///
/// Laws of counts:
/// - `record_replayed` MUST raise the count of every position by one and set its time, all in one step.
/// - The counts MUST be included in every read of those events, and nothing else of the events MUST change.
/// - Positions without an event MUST be ignored. A position that is named twice in a call counts once.
///
/// Laws of records:
/// - `create_replay` MUST keep the record as it is given, and MUST refuse an id that exists with `Exists`.
/// - `list_replays` MUST return the newest replays first: sorted by the time at which they were made, then by id.
/// - `lease_replay` MUST return none for a replay that is final or unknown, or that another runner holds. Otherwise
///   it returns a lease with a higher epoch than any lease before it. If the token already holds the lease, it
///   returns the same lease, extended.
/// - `update_replay` under a lease that is not the newest MUST be `Fenced` and change nothing. A final state ends the
///   lease.
/// - Under its lease, state, progress, hold and results MUST change in one step.
/// - `request` MUST set a replay that is not final to `Paused` or `Cancelling`, or from `Paused` back to `Planned`.
///   Of a final replay, it MUST change nothing. A cancelled replay without a runner is `Cancelled` at once.
/// - `steer` MUST replace the steering of a replay that is not final, and MUST change nothing else of it except the time of the
///   last change. Of a final replay, it MUST change nothing.
/// - `update_replay` and `request` MUST keep the steering.
/// - `results` MUST return the results that groups' commits stored for the replay, by batch.
/// - Every trim MUST keep the events that a replay holds, like the events after a checkpoint with a hold, until the
///   replay is final.
/// - `delete_replay` MUST remove a final replay with its results, and MUST NOT remove any other replay.
#[async_trait]
pub trait ReplayStore: Send + Sync {
    /// Counts one more replay of each of these events.
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError>;

    /// Keeps a new record.
    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError>;

    /// Returns the record of a replay.
    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError>;

    /// Returns records, the newest first, at most `limit`.
    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError>;

    /// Returns the replays that are not final and have no runner, the oldest first.
    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError>;

    /// Takes or renews the lease of a replay, valid for `duration` by the store's clock.
    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError>;

    /// Records the progress of a replay. Returns the state after the update.
    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError>;

    /// Records a command to a replay. Returns the state after the command, or none if there is no such replay.
    async fn request(
        &self,
        id: &str,
        command: ReplayCommand,
    ) -> Result<Option<ReplayState>, ReplayStoreError>;

    /// Replaces the steering of a replay. Returns the state of the replay, or none if there is no such replay.
    async fn steer(&self, id: &str, steering: &str) -> Result<Option<ReplayState>, ReplayStoreError>;

    /// Returns results of a replay's batches, by batch, at most `limit`.
    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError>;

    /// Deletes a final replay. Returns whether there was one.
    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError>;
}
