//! A store with one deliberate fault, on top of the store in RAM.

mod dead_letters;
mod groups;
mod log;
mod replays;
mod schedule;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use conformance::{Faults, Harness, ManualClock, Storage, Stores};
use domain::group::Lease;
use event_replay_storage_memory::MemoryEngine;
use store::Store;

/// The fault of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Batches are never all or nothing.
    AlwaysEach,
    /// The last event of a full page is missing.
    LosesTheLastOfAPage,
    /// A read returns events beyond its high-water mark.
    ForgetsTheMark,
    /// A read against log order does not return the oldest event.
    NewestFirstSkipsTheFirst,
    /// Counts exclude the upper bound of the time range.
    CountsWithoutTheUpperEdge,
    /// Expectations are not checked.
    IgnoresExpectations,
    /// Expectations are checked by a read before the append.
    ChecksExpectationsTooEarly,
    /// Trims ignore holds.
    IgnoresHolds,
    /// A dry run removes events.
    DryRunTrims,
    /// Replays are counted, except for the first position of a call.
    ForgetsOneReplay,
    /// Some events are stored without one of their index entries.
    LosesIndexEntries,
    /// Checkpoints are always replaced.
    AlwaysReplaces,
    /// Trims remove events that groups have not passed.
    IgnoresGroupHolds,
    /// Trims remove events that replays hold.
    IgnoresReplayHolds,
    /// No gap is reported after a trim has removed events of a group.
    LosesGaps,
    /// Resets skip events that consumers have claimed.
    SkipsClaimedEvents,
    /// The number of pending events is the lag of the slowest segment, with events of any type.
    CountsTheLag,
    /// Deliveries are returned without their dead letters.
    LosesSightOfLetters,
    /// A consumer that has lost its lease can still commit.
    AcceptsFencedCommits,
    /// Cursor and claim are stored, the rest of the commit is not.
    CommitsHalf,
    /// The claim is not stored.
    ForgetsTheClaim,
    /// A segment is leased to every consumer that requests it.
    LeasesTwice,
    /// A consumer that leaves keeps its segments.
    NeverLeaves,
    /// A runner that has lost the lease of its replay can still queue batches.
    IgnoresTheRunner,
    /// The last result of a call is missing.
    LosesResults,
    /// A batch with delivered references is withdrawn.
    WithdrawsWhatWasClaimed,
    /// A dead letter that is being redriven is added to the lane again.
    RedrivesTwice,
    /// The key of a discarded dead letter stays parked.
    ReleasesNothing,
    /// Purges remove closed dead letters regardless of the time at which they were closed.
    PurgesAllThatIsClosed,
    /// An appended event stays in the schedule, and a later call reports it as appended again.
    AppendsTwice,
    /// Events are appended before they are due.
    AppendsEarly,
    /// Due events stay in the schedule while at most 100 events are scheduled.
    LeavesSomeInTheSchedule,
    /// Two runners can hold the lease of one replay.
    SharesReplays,
    /// Commands are accepted and have no effect.
    ForgetsCommands,
    /// The last counter of a call is not stored.
    LosesACounter,
    /// Old counters are not folded.
    FoldsNothing,
    /// The counts of events are those of an empty log.
    CountsNoEvent,
}

/// A store with a fault.
#[derive(Debug, Clone)]
pub(crate) struct Faulty {
    store: Store,
    engine: MemoryEngine,
    clock: ManualClock,
    fault: Fault,
    /// Newest lease of each segment, as the store returned it.
    newest: Arc<Mutex<BTreeMap<(String, u16), Lease>>>,
}

/// Makes stores with a fault.
pub(crate) struct FaultyHarness(pub(crate) Fault);

#[async_trait]
impl Harness for FaultyHarness {
    async fn fresh(&self, clock: ManualClock) -> Box<dyn Storage> {
        let engine = MemoryEngine::new(Arc::new(clock.clone()));
        let store = Store::new(engine.clone());
        Box::new(FaultyStorage(Faulty { store, engine, clock, fault: self.0, newest: Arc::default() }))
    }
}

struct FaultyStorage(Faulty);

#[async_trait]
impl Storage for FaultyStorage {
    async fn open(&self) -> Arc<dyn Stores> {
        Arc::new(self.0.clone())
    }

    fn faults(&self) -> Option<&dyn Faults> {
        None
    }
}
