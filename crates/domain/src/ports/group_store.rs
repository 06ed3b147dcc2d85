//! The port of consumer groups: leases on segments, the progress of each segment, and the replay lane.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::{
    dead_letter::NewDeadLetter,
    error::{Retry, StorageFailure},
    group::{
        BlockedKey, EventDelivery, Gap, GroupRecord, GroupSpec, GroupSpecError, GroupStatus, Key, LaneBatch,
        LaneProgress, Lease, NewLaneBatch, PassedEvents, Pending, SegmentState,
    },
    ports::replay_store::ReplayLease,
    position::Cursor,
    stored::StoredEvent,
};

/// A consumer's request for its share of a group's segments. It also reports that the consumer is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Name of the group.
    pub group: String,
    /// Name of the consumer, unique among the group's consumers.
    pub consumer: String,
    /// Random number that the consumer drew when it started.
    pub token: u64,
    /// Time for which the leases are valid from now on, by the store's clock.
    pub duration: Duration,
}

/// Leases of a consumer after its request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leases {
    /// Every lease that the consumer holds now, all of them extended.
    pub held: Vec<Lease>,
    /// New leases among these, each with the state of its segment.
    pub taken: Vec<(Lease, SegmentState)>,
    /// Number of segments that the consumer should hold ([`crate::group::fair_share`]).
    pub share: u16,
    /// Segments that the consumer holds and other consumers should have. The consumer should release them soon.
    /// Shares are fair within each partition. So this list may be non-empty although the consumer holds no more
    /// segments in total than its share.
    pub surplus: Vec<u16>,
    /// Gaps of the group.
    pub gaps: Vec<Gap>,
}

impl Leases {
    /// Returns the segments of the held leases that exceed a share: the highest ones.
    pub fn beyond(share: u16, held: &[Lease]) -> Vec<u16> {
        let mut segments: Vec<u16> = held.iter().map(|lease| lease.segment).collect();
        segments.sort_unstable();
        segments.split_off(usize::from(share).min(segments.len()))
    }
}

/// A consumer's commit to a segment. The store applies all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentCommit {
    /// Lease under which the consumer commits.
    pub lease: Lease,
    /// New cursor of the segment.
    pub cursor: u64,
    /// New claim of the segment.
    pub claimed_to: u64,
    /// Ledger rows (blocked keys) to write. Each replaces the row of the same key.
    pub blocked: Vec<BlockedKey>,
    /// Keys whose ledger rows are removed.
    pub unblocked: Vec<Key>,
    /// Deliveries that the group gives up on.
    pub dead_letters: Vec<NewDeadLetter>,
    /// Ids of dead letters whose redrive was handled.
    pub handled_dead_letters: Vec<String>,
    /// Progress of batches in the replay lane, by their place in it.
    pub lane: Vec<(u64, LaneProgress)>,
    /// Batches in the replay lane that are done, with their final progress. They leave the lane. If a replay sent a
    /// batch, the store keeps its result for the runner.
    pub lane_done: Vec<(u64, LaneProgress)>,
    /// Whether the commit also releases the lease.
    pub release: bool,
}

impl SegmentCommit {
    /// Returns a commit that changes only cursor and claim.
    pub fn new(lease: Lease, cursor: u64, claimed_to: u64) -> Self {
        Self {
            lease,
            cursor,
            claimed_to,
            blocked: Vec::new(),
            unblocked: Vec::new(),
            dead_letters: Vec::new(),
            handled_dead_letters: Vec::new(),
            lane: Vec::new(),
            lane_done: Vec::new(),
            release: false,
        }
    }
}

/// Outcome of a commit to a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The commit is stored.
    Committed,
    /// The commit is stored, except for the progress of these lane batches, given by their place. They were withdrawn
    /// before any of their references was claimed. The consumer must not deliver any of their references.
    CommittedWithout(Vec<u64>),
    /// Another consumer has leased the segment since, or the segment was reset or deleted. The commit changed
    /// nothing. The consumer must drop the events that it fetched for the segment.
    Fenced,
}

/// Outcome of adding a batch of references to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueOutcome {
    /// The references are in the lane.
    Queued,
    /// The segment has already had this batch of this replay. Nothing was added.
    AlreadyQueued,
    /// The lane is full. No reference of this batch was added. Try again after the lane has become shorter.
    Full,
    /// There is no such group, or the group has no such segment.
    NoGroup,
}

/// Errors of [`GroupStore`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GroupStoreError {
    /// The store itself failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// There is no such group.
    #[error("there is no group named {0:?}")]
    NoGroup(String),
    /// The group exists with another order or number of segments, which are frozen.
    #[error("the group {name:?} exists with {existing}; these are frozen when a group is made")]
    Differs {
        /// Name of the group.
        name: String,
        /// Frozen settings of the existing group, for people: [`GroupSpec::describe`].
        existing: String,
    },
    /// The requested settings are out of their bounds.
    #[error(transparent)]
    BadSpec(#[from] GroupSpecError),
    /// The log is divided by the events' own ordering keys. A group with another order would need events of several
    /// partitions for one key.
    #[error(
        "the log is divided into {partitions} partitions by the events' own ordering keys, so a group can keep no other order"
    )]
    OrderCrossesPartitions {
        /// Number of partitions.
        partitions: u16,
    },
    /// The cursor is not of this log.
    #[error("the cursor is not of this log: {0}")]
    BadCursor(String),
    /// Another runner holds the lease of the replay. Nothing was queued.
    #[error("another runner has taken the replay over")]
    RunnerFenced,
}

impl GroupStoreError {
    /// Returns whether a repeated call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Storage(failure) => failure.retry(),
            _ => Retry::Never,
        }
    }
}

/// A group that a call made or found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeGroup {
    /// Record of the group.
    pub record: GroupRecord,
    /// Whether this call made the group.
    pub is_new: bool,
}

/// Keeps consumer groups.
///
/// Laws of groups:
/// - `make_group` MUST make a group whose segments stand at the cursor, with no claims. Of a group that exists, it
///   MUST change only the types, and MUST refuse another key or number of segments with `Differs`. The number of
///   segments is rounded up, so that each partition has the same number. A group with another order than that of the
///   events' own keys needs a log of one partition.
/// - If several calls request one new group concurrently, exactly one call MUST report that the group is new. The
///   group MUST begin at the cursor of that call.
/// - `make_group` MUST refuse all settings that [`GroupSpec::check`] refuses, before any other check, with `BadSpec`.
///   It then makes nothing.
/// - `Differs` MUST describe the existing group in the words of [`GroupSpec::describe`].
/// - `groups` MUST return all groups, by name. Deleting a group that does not exist MUST return false.
/// - Deleting a group MUST remove its segments, ledger, lane and leases. Its dead letters MUST stay.
/// - `reset_group` MUST set every segment's cursor and claim to the mark, clear the ledger and the gaps, and fence
///   every lease. It does so in one step in each partition. The replay lane MUST stay.
///
/// Laws of the pending events:
/// - `pending` MUST count the events of the group's types that the log holds and that the group has not handled,
///   skipped or given up on. It counts as of the group's last commits, and returns the stored time of the oldest
///   event. An event after its segment's cursor is open. An event that a ledger row names is open too, except the
///   dead letter behind which a key is parked.
/// - `pending` MAY count fewer events if more than [`crate::group::MAX_PENDING_LOOKS`] events of a partition lie
///   between the oldest open event and the highest cursor. Then it MUST NOT state that the number is exact, and MUST
///   NOT count more events than there are.
///
/// Laws of deliveries:
/// - `deliveries` MUST return the state of each event, in order, as [`crate::group::DeliveryState::of`] computes it.
///   The input is the places of the group's segments and the ledger, as of the last commits.
/// - It MUST return the dead letter of the group and the event's position, in any state, and no other.
/// - For a group that does not exist, it MUST return none.
///
/// Laws of passed events:
/// - `passed` MUST return the events that the group passed and did not deliver, for each partition in order. They are
///   as [`crate::group::PassedEvents`] defines for the place where the group began, its resets and its earlier types.
/// - No event that a consumer claimed before a reset MUST be in the range that the reset skipped.
/// - For a group that does not exist, it MUST return none. It also returns none if a partition has lost its part of the
///   group, because the events are then unknown.
///
/// Laws of leases (all times are the store's clock):
/// - A segment MUST have at most one lease, and each lease a higher epoch than the lease before it, also across
///   resets.
/// - `lease` MUST extend the leases that the consumer holds under its token. It then takes segments whose lease is
///   free or expired, up to the consumer's fair share. It MUST NOT take a lease that is still valid. If the consumer
///   holds more than its share, the answer MUST list the surplus.
/// - In each partition, a consumer's share MUST be [`crate::group::fair_share`]. So the totals of any two consumers
///   over all partitions differ by at most one segment.
/// - `lease` MUST return the state of each segment that it takes, as of the last commit.
/// - `leave` MUST remove the consumer and free its segments. It changes nothing else of the segments.
/// - A consumer counts as running until the duration of its last `lease` call is over.
///
/// Laws of commits:
/// - Each segment's commit MUST be stored whole or not at all, through any crash: cursor, claim, ledger, dead letters
///   and lane.
/// - A commit under a lease that is not the segment's newest MUST be `Fenced`, and MUST change nothing of the
///   segment. The commits to other segments in the same call are stored.
/// - A commit MUST succeed under an expired lease if no other consumer has taken the segment.
/// - A dead letter of a group and position that already has one MUST merge into it
///   ([`crate::dead_letter::DeadLetter::merge`]). Each failure that is reported with it MUST be kept as
///   [`crate::dead_letter::note_failure`] defines, in the order of the attempts. Its event is the event at that
///   position in the log, or the event of the letter into which it merges. If neither exists any more, no dead letter
///   is made.
/// - `handled_dead_letters` MUST set letters that are being redriven to handled. It does not change other letters.
///   The redriven letters reach the consumer through the segment's lane, so their events are in its partition.
///   Nothing is defined for letters of other partitions. If the same commit makes a dead letter for one that is being
///   redriven, the letter MUST be open again.
/// - If a lane batch was withdrawn, a commit with its progress MUST return `CommittedWithout`. The rest of the commit
///   is stored.
/// - A lane batch that is done MUST leave the lane, and its [`LaneBatch::result`] MUST be among the replay's results,
///   in the same step.
///
/// Laws of the lane:
/// - `enqueue` MUST add a batch whole or not at all, at the end of its segment's lane, in the order of the call.
/// - A segment MUST take a batch of a replay once. A second call returns `AlreadyQueued`, even after the batch has
///   left the lane, while the store keeps the replay.
/// - A lane that holds references MUST NOT grow past [`crate::group::MAX_LANE_REFERENCES`]. An empty lane takes a
///   batch of any size.
/// - Under a replay lease that is not the replay's newest, nothing MUST be added, and the error is `RunnerFenced`.
/// - `lane` MUST return batches in the order of the lane, after the given place, with their progress.
/// - A page of `lane` MUST have the first batch of each segment that has any. It MUST NOT have a further batch that
///   exceeds the limit of references.
/// - `withdraw` MUST remove the batches of a replay that have no delivered reference, and return the number of
///   removed references.
///
/// Laws of holding:
/// - Every trim MUST keep the events that a group has not passed, like the events after a checkpoint with a hold.
///   These are the events after the cursors of the group's segments, and the events at the positions in its ledger
///   and lane.
/// - A group that was last seen longer ago than the trim's `forgotten_after` MUST NOT hold events. No group MUST hold
///   events that were stored longer ago than the trim's `max_hold`.
/// - A trim that removes events that a group has not passed MUST record a gap for the group, in the same step.
/// - Gaps MUST be kept as [`crate::group::note_gap`] defines. A gap grows if no event is left before the next gap. Of
///   more than [`crate::group::MAX_GAPS`] gaps in a partition, the two oldest become one.
#[async_trait]
pub trait GroupStore: Send + Sync {
    /// Makes a group that begins after a cursor, or finds it. The answer states which of the two happened.
    async fn make_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<MadeGroup, GroupStoreError>;

    /// Like [`GroupStore::make_group`], for callers that need not know whether the group is new.
    async fn create_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<GroupRecord, GroupStoreError> {
        Ok(self.make_group(spec, at).await?.record)
    }

    /// Returns every group, by name.
    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError>;

    /// Returns the status of a group.
    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError>;

    /// Returns the pending events of a group, or none if there is no such group.
    async fn pending(&self, name: &str) -> Result<Option<Pending>, GroupStoreError>;

    /// Returns the deliveries of these events in a group, in order, or none if there is no such group.
    async fn deliveries(
        &self,
        name: &str,
        events: &[StoredEvent],
    ) -> Result<Option<Vec<EventDelivery>>, GroupStoreError>;

    /// Returns the events that a group passed and did not deliver, for each partition in order. Returns none if there
    /// is no such group, or if they are unknown.
    async fn passed(&self, name: &str) -> Result<Option<Vec<PassedEvents>>, GroupStoreError>;

    /// Returns the first ledger rows (blocked keys) of a group, by position, at most `limit`, each with its segment.
    async fn blocked_keys(&self, name: &str, limit: usize)
    -> Result<Vec<(u16, BlockedKey)>, GroupStoreError>;

    /// Deletes a group. Returns whether there was one.
    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError>;

    /// Moves a group to a mark.
    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError>;

    /// Renews a consumer's leases and takes its share of the segments.
    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError>;

    /// Removes a consumer from a group: frees the segments that it holds under this token.
    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError>;

    /// Commits to segments of one or several groups. Returns one outcome for each commit, in order. After
    /// [`StorageFailure::Unknown`], the same commit under the same lease settles it.
    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError>;

    /// Adds references to lanes. Returns one outcome for each batch, in order.
    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError>;

    /// Returns batches of a group's lanes. For each named segment, these are the batches after a place, at least one
    /// if there is any. The call returns no further batch beyond `limit` references.
    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError>;

    /// Removes the references of a replay that were not delivered yet from all lanes. Returns their number.
    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError>;
}
