//! What replays leave behind: how often each event was replayed, and the record of each replay.

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

/// The state of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReplayState {
    /// It waits for a runner.
    Planned,
    /// A runner works on it.
    Running,
    /// It was asked to rest.
    Paused,
    /// It was asked to end.
    Cancelling,
    /// It was ended before it was through.
    Cancelled,
    /// It is through.
    Completed,
    /// It could not go on.
    Failed,
}

impl ReplayState {
    /// Whether nothing more is to come.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Cancelled | Self::Completed | Self::Failed)
    }
}

/// The record of a replay. Plan, progress and steering are texts of the replay engine's own; a store does not look inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayRecord {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: ReplayState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What it replays, to where and how: frozen when it is made.
    pub plan: String,
    /// How far it is, and its report.
    pub progress: String,
    /// Changes that an operator made to the replay after it was created; none until the first one.
    pub steering: Option<String>,
    /// Events after this mark are still needed; none where it needs nothing more.
    pub hold: Option<Cursor>,
}

/// The right to run a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayLease {
    /// The replay.
    pub replay_id: String,
    /// The fencing number: each lease has a higher one than the lease before it.
    pub epoch: u64,
    /// Drawn at random by the runner.
    pub token: u64,
}

/// A step of a replay's runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayUpdate {
    /// Its state from now on. A command to pause or cancel that came meanwhile stays, unless this is a final state or
    /// answers it ([`ReplayState::Paused`] answers a command to pause).
    pub state: ReplayState,
    /// How far it is.
    pub progress: String,
    /// Events after this mark are still needed.
    pub hold: Option<Cursor>,
    /// Results of batches below this number are in `progress` now, and are removed. The number that a store knows never falls: a
    /// batch below it is [`EnqueueOutcome::AlreadyQueued`](super::EnqueueOutcome::AlreadyQueued).
    pub settled_batches: u64,
}

/// A command to a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayCommand {
    /// To rest.
    Pause,
    /// To go on.
    Resume,
    /// To end.
    Cancel,
}

/// Why a call of [`ReplayStore`] failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ReplayStoreError {
    /// The store itself failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// There is a replay of this id.
    #[error("there is a replay {0} already")]
    Exists(String),
    /// Another runner has taken the replay over; nothing was changed.
    #[error("another runner has taken the replay over")]
    Fenced,
}

impl ReplayStoreError {
    /// Whether repeating the call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Storage(failure) => failure.retry(),
            _ => Retry::Never,
        }
    }
}

/// Keeps replay counts, beside the events and never in them, and the records of replays.
///
/// Laws of counts:
/// - `record_replayed` MUST raise the count of every position by one and set its time, all in one step.
/// - The counts MUST show in every read of those events, and nothing else of them MUST change.
/// - Positions that are gone MUST be passed over; one that is named twice in a call counts once.
///
/// Laws of records:
/// - `create_replay` MUST keep the record as it is given, and MUST refuse an id that exists with `Exists`.
/// - `list_replays` MUST give the newest first, by when they were made and then by id.
/// - `lease_replay` MUST answer none for a replay that is over or unknown, or that another runner holds; else a lease with
///   a higher epoch than any before it, or the same lease, extended, where the token holds it already.
/// - `update_replay` under a lease that is not the newest MUST be `Fenced` and change nothing; a final state ends the lease.
/// - Under its lease, state, progress, hold and results MUST change in one step.
/// - `request` MUST turn a replay that is not over into `Paused`, `Cancelling`, or back into `Planned` from `Paused`; of one
///   that is over it MUST change nothing. A replay without a runner is `Cancelled` at once.
/// - `steer` MUST replace the steering of a replay that is not over, and nothing else of it; of one that is over it MUST change
///   nothing. `update_replay` and `request` MUST keep the steering.
/// - `results` MUST give what groups' commits left for the replay, by batch.
/// - What a replay holds MUST be kept by every trim, as the events after a checkpoint that holds, until it is over.
/// - `delete_replay` MUST remove a replay that is over with its results, and MUST NOT remove another.
#[async_trait]
pub trait ReplayStore: Send + Sync {
    /// Counts one more replay of each of these events.
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError>;

    /// Keeps a new record.
    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError>;

    /// The record of a replay.
    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError>;

    /// Records, the newest first, at most `limit`.
    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError>;

    /// Replays that are not over and have no runner, oldest first.
    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError>;

    /// Takes or renews the right to run a replay, good for `duration` by the store's clock.
    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError>;

    /// Notes how far a replay is; its state afterwards.
    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError>;

    /// Records a command to a replay. Returns its state afterwards, or none if there is no such replay.
    async fn request(
        &self,
        id: &str,
        command: ReplayCommand,
    ) -> Result<Option<ReplayState>, ReplayStoreError>;

    /// Replaces the steering of a replay. Returns the state of the replay, or none if there is no such replay.
    async fn steer(&self, id: &str, steering: &str) -> Result<Option<ReplayState>, ReplayStoreError>;

    /// Results of a replay's batches, by batch, at most `limit`.
    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError>;

    /// Deletes a replay that is over; whether there was one.
    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError>;
}
