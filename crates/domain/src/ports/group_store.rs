//! Consumer groups: leases on segments, how far each segment is, and the replay lane.

use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;

use crate::{
    dead_letter::NewDeadLetter,
    error::{Retry, StorageFailure},
    group::{
        BlockedKey, EventDelivery, Gap, GroupRecord, GroupSpec, GroupSpecError, GroupStatus, Key, LaneBatch,
        LaneProgress, Lease, NewLaneBatch, Pending, SegmentState,
    },
    ports::replay_store::ReplayLease,
    position::Cursor,
    stored::StoredEvent,
};

/// A consumer that says it is there, and wants its share of a group's segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// The group.
    pub group: String,
    /// The consumer's name, unique among the group's consumers.
    pub consumer: String,
    /// Drawn at random when the consumer started.
    pub token: u64,
    /// How long the leases are good from now on, by the store's clock.
    pub duration: Duration,
}

/// What a consumer has after it asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leases {
    /// Every lease it holds now, all of them extended.
    pub held: Vec<Lease>,
    /// Of these, the ones that are new, each with what its segment holds.
    pub taken: Vec<(Lease, SegmentState)>,
    /// How many it should have ([`crate::group::fair_share`]).
    pub share: u16,
    /// Segments that it holds and others should have: it should give them back soon. Shares are fair in each partition, so
    /// there may be some although it holds no more than it should have.
    pub surplus: Vec<u16>,
    /// Gaps of the group.
    pub gaps: Vec<Gap>,
}

impl Leases {
    /// What of the leases that are held is beyond a share: those of the highest segments.
    pub fn beyond(share: u16, held: &[Lease]) -> Vec<u16> {
        let mut segments: Vec<u16> = held.iter().map(|lease| lease.segment).collect();
        segments.sort_unstable();
        segments.split_off(usize::from(share).min(segments.len()))
    }
}

/// What a consumer commits to a segment: all of it, or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentCommit {
    /// The lease under which it commits.
    pub lease: Lease,
    /// The segment's cursor from now on.
    pub cursor: u64,
    /// The segment's claim from now on.
    pub claimed_to: u64,
    /// Rows of the ledger to put, each in place of that of the same key.
    pub blocked: Vec<BlockedKey>,
    /// Keys whose rows go.
    pub unblocked: Vec<Key>,
    /// Deliveries that the group gives up on.
    pub dead_letters: Vec<NewDeadLetter>,
    /// Dead letters, by id, whose redrive was handled.
    pub handled_dead_letters: Vec<String>,
    /// Progress of batches in the replay lane, by their place in it.
    pub lane: Vec<(u64, LaneProgress)>,
    /// Batches in the replay lane that are done, with their last progress: they leave it, and where a replay sent them
    /// their result is kept for its runner.
    pub lane_done: Vec<(u64, LaneProgress)>,
    /// Whether the lease is given back with this commit.
    pub release: bool,
}

impl SegmentCommit {
    /// A commit that changes nothing but cursor and claim.
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

/// What became of a commit to a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is kept.
    Committed,
    /// It is kept, but for progress of these lane batches, by their place: they were withdrawn before anything of them was
    /// claimed. Nothing of them is to be handed over.
    CommittedWithout(Vec<u64>),
    /// Another consumer has leased the segment since, or it was reset or deleted; nothing of it was changed. What was
    /// fetched for it is to be dropped.
    Fenced,
}

/// What became of references that were to go into a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueOutcome {
    /// They are in the lane.
    Queued,
    /// The segment has had this batch of this replay before; nothing was added.
    AlreadyQueued,
    /// The lane is full; nothing of this batch was added. Try again once it is shorter.
    Full,
    /// There is no such group, or it has no such segment.
    NoGroup,
}

/// Why a call of [`GroupStore`] failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GroupStoreError {
    /// The store itself failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// There is no such group.
    #[error("there is no group named {0:?}")]
    NoGroup(String),
    /// The group exists with another ordering or number of segments, which are frozen.
    #[error("the group {name:?} exists with {existing}; these are frozen when a group is made")]
    Differs {
        /// The group.
        name: String,
        /// What it has, for people: [`GroupSpec::describe`].
        existing: String,
    },
    /// No group can be made as this one was asked for.
    #[error(transparent)]
    BadSpec(#[from] GroupSpecError),
    /// The log is divided by the events' own ordering keys: what another order would keep together lies in several partitions.
    #[error(
        "the log is divided into {partitions} partitions by the events' own ordering keys, so a group can keep no other order"
    )]
    OrderCrossesPartitions {
        /// How many there are.
        partitions: u16,
    },
    /// The cursor is not of this log.
    #[error("the cursor is not of this log: {0}")]
    BadCursor(String),
    /// The replay's lease is another runner's now: nothing was queued.
    #[error("another runner has taken the replay over")]
    RunnerFenced,
}

impl GroupStoreError {
    /// Whether repeating the call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Storage(failure) => failure.retry(),
            _ => Retry::Never,
        }
    }
}

/// A group that was made, or that was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeGroup {
    /// What is kept of it.
    pub record: GroupRecord,
    /// Whether this call made it.
    pub is_new: bool,
}

/// Keeps consumer groups.
///
/// Laws of groups:
/// - `make_group` MUST make a group whose segments stand at the cursor, with nothing claimed; of a group that exists it
///   MUST change nothing but its types, and MUST refuse another key or number of segments with `Differs`. Each partition has
///   as many segments, rounded up; other orders than that of the events' own keys are kept in one partition alone.
/// - Of any number of calls that ask for one new group at once, one alone MUST be told that the group is new, and the group
///   MUST begin at that call's cursor.
/// - `make_group` MUST refuse what [`GroupSpec::check`] refuses, before all else, with `BadSpec`, and make nothing.
/// - `Differs` MUST tell what exists in the words of [`GroupSpec::describe`].
/// - `groups` MUST give all, by name. Deleting what is not there MUST answer false.
/// - Deleting a group MUST remove its segments, ledger, lane and leases; its dead letters MUST stay.
/// - `reset_group` MUST set every segment's cursor and claim to the mark, clear the ledger and the gaps, and fence every
///   lease, in one step in each partition. The replay lane MUST stay.
///
/// Laws of what is pending:
/// - `pending` MUST count the events of the group's types that the log holds and that the group has not handled, skipped or given
///   up on, as its last commits left it; and say when the oldest of them was stored. An event that is behind its segment's
///   cursor is open; so is one that a row of the ledger names, but for the one that a parked key waits behind.
/// - Where more than [`crate::group::MAX_PENDING_LOOKS`] events of a partition lie between the oldest open one and the highest
///   cursor it MAY count fewer. Then it MUST NOT say that the number is exact, and MUST NOT count more than there are.
///
/// Laws of deliveries:
/// - `deliveries` MUST answer one event after the other as [`crate::group::DeliveryState::of`] says of where the group's
///   segments are and of its ledger, as its last commits left them.
/// - It MUST give the dead letter of the group and the event's position, in whichever state, and no other.
/// - Of a group that does not exist it MUST answer none.
///
/// Laws of leases (all times are the store's clock):
/// - A segment MUST have one lease at most, and each lease of it a higher epoch than the one before, also across resets.
/// - `lease` MUST extend what the consumer holds under its token, then take segments without a lease, or whose lease is
///   over, up to the consumer's fair share, and MUST NOT take a lease that is still good. What it holds beyond its share it
///   MUST be told to give back.
/// - In each partition a consumer's share MUST be that of [`crate::group::fair_share`]; so over all partitions it has as many
///   segments as others, give or take one.
/// - It MUST give the state of each segment it takes, as the last commit left it.
/// - `leave` MUST forget the consumer and free its segments, changing nothing else of them.
/// - The consumers that are alive are those whose last `lease` call's duration is not over.
///
/// Laws of commits:
/// - Each segment's commit MUST be kept whole or not at all, through any crash: cursor, claim, ledger, dead letters and lane.
/// - A commit under a lease that is not the segment's newest MUST be `Fenced`, and MUST change nothing of the segment; the
///   commits to other segments in the same call are kept.
/// - A lease that has expired, and that no other consumer took, MUST still commit.
/// - A dead letter of a group and position that has one MUST merge into it ([`crate::dead_letter::DeadLetter::merge`]).
///   Each failure that is reported with it MUST be kept as [`crate::dead_letter::note_failure`] says, in the order of the attempts.
///   Its event is the one at that position in the log, or the one in the letter it merges into. Where neither is there any
///   more, none is made.
/// - `handled_dead_letters` MUST set letters that are being redriven to handled; in others they change nothing. They come
///   through the segment's lane, so their events are of its partition: of other partitions' letters nothing is said. A dead
///   letter made in the same commit for one that is being redriven MUST open it again.
/// - Progress of a lane batch that was withdrawn MUST be answered with `CommittedWithout`, and the rest kept.
/// - A lane batch that is done MUST leave the lane, and its [`LaneBatch::result`] MUST be among the replay's results, in
///   the same step.
///
/// Laws of the lane:
/// - `enqueue` MUST add a batch whole or not at all, at the end of its segment's lane, in the order of the call.
/// - A segment MUST take a batch of a replay once: again it is `AlreadyQueued`, also when it has left the lane, as long as
///   the replay is kept.
/// - A lane that holds references MUST NOT grow past [`crate::group::MAX_LANE_REFERENCES`]; an empty one takes any batch.
/// - Under a replay lease that is not the replay's newest, nothing MUST be added, and the answer is `RunnerFenced`.
/// - `lane` MUST give batches in the order of the lane, after the given place, with their progress.
/// - A page of `lane` MUST have the first batch of each segment that has any, and MUST have no further batch that would take it
///   past the limit of references.
/// - `withdraw` MUST remove a replay's batches of which nothing was handed over yet, and answer how many references went.
///
/// Laws of holding:
/// - What a group has not passed MUST be kept by every trim, as the events after a checkpoint that holds: what comes after
///   its segments' cursors, the positions in its ledger, and those in its lane.
/// - A group that was last seen longer ago than the trim's `forgotten_after` MUST NOT hold, and no group MUST hold events
///   that were stored longer ago than the trim's `max_hold`.
/// - A trim that removes what a group has not passed MUST record a gap for it, in the same step.
/// - Gaps MUST be kept as [`crate::group::note_gap`] says: one grows where no event is left before the next, and of more than
///   [`crate::group::MAX_GAPS`] in a partition the two oldest become one.
#[async_trait]
pub trait GroupStore: Send + Sync {
    /// Makes a group that begins after a cursor, or finds it, and says which of both.
    async fn make_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<MadeGroup, GroupStoreError>;

    /// As [`GroupStore::make_group`], for who need not know whether it is new.
    async fn create_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<GroupRecord, GroupStoreError> {
        Ok(self.make_group(spec, at).await?.record)
    }

    /// Every group, by name.
    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError>;

    /// How a group is doing.
    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError>;

    /// What a group has still to handle; none where there is no such group.
    async fn pending(&self, name: &str) -> Result<Option<Pending>, GroupStoreError>;

    /// What a group has done with each of these events, in their order; none where there is no such group.
    async fn deliveries(
        &self,
        name: &str,
        events: &[StoredEvent],
    ) -> Result<Option<Vec<EventDelivery>>, GroupStoreError>;

    /// The first rows of a group's ledger, by position, at most `limit`, with the segments they are of.
    async fn blocked_keys(&self, name: &str, limit: usize)
    -> Result<Vec<(u16, BlockedKey)>, GroupStoreError>;

    /// Deletes a group; whether there was one.
    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError>;

    /// Moves a group to a mark.
    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError>;

    /// Renews a consumer's leases and takes its share.
    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError>;

    /// Takes leave of a group: frees what the consumer holds under this token.
    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError>;

    /// Commits to segments of one group, or of several; one outcome a commit, in order. After
    /// [`StorageFailure::Unknown`], committing the same again settles it, under the same lease.
    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError>;

    /// Puts references into lanes; one outcome a batch, in order.
    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError>;

    /// Batches of a group's lanes: of each named segment those after a place, at least one of each segment that has any,
    /// and no further one past `limit` references.
    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError>;

    /// Takes a replay's references that were not handed over yet out of all lanes; how many there were.
    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError>;
}
