//! A store with one fault put in, over the store in RAM.

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

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Batches are never all or nothing.
    AlwaysEach,
    /// The last event of a full page is lost.
    LosesTheLastOfAPage,
    /// A read goes past its high-water mark.
    ForgetsTheMark,
    /// Walking back stops short of the first event.
    NewestFirstSkipsTheFirst,
    /// Counts leave the upper edge of the time range out.
    CountsWithoutTheUpperEdge,
    /// Expectations are not checked.
    IgnoresExpectations,
    /// Expectations are checked by a read before the append.
    ChecksExpectationsTooEarly,
    /// Holds are not respected.
    IgnoresHolds,
    /// A dry run is none.
    DryRunTrims,
    /// Times of replay are counted, but not for the last position of a call.
    ForgetsOneReplay,
    /// Some events are stored without one of their index entries.
    LosesIndexEntries,
    /// Checkpoints are always replaced.
    AlwaysReplaces,
    /// What groups have not passed is trimmed.
    IgnoresGroupHolds,
    /// What replays hold is trimmed.
    IgnoresReplayHolds,
    /// What a trim took from a group is not noted.
    LosesGaps,
    /// What is pending is what lies behind the slowest segment, of any type.
    CountsTheLag,
    /// Says nothing of dead letters where it is asked for deliveries.
    LosesSightOfLetters,
    /// A consumer that has lost its lease can still commit.
    AcceptsFencedCommits,
    /// Cursor and claim are kept, the rest of the commit is not.
    CommitsHalf,
    /// The claim is not kept.
    ForgetsTheClaim,
    /// A segment is leased to every consumer that asks.
    LeasesTwice,
    /// Who takes leave goes on holding its segments.
    NeverLeaves,
    /// A replay's runner that was replaced goes on.
    IgnoresTheRunner,
    /// A batch that is done leaves no result.
    LosesResults,
    /// A batch that was handed over in part is withdrawn.
    WithdrawsWhatWasClaimed,
    /// A letter that is on its way is put into the lane again.
    RedrivesTwice,
    /// A discarded letter's key goes on waiting.
    ReleasesNothing,
    /// Letters are purged however lately they were closed.
    PurgesAllThatIsClosed,
    /// What was appended stays in the schedule, and is said to be appended once more.
    AppendsTwice,
    /// What is not due is appended.
    AppendsEarly,
    /// The last hundred that are due stay in the schedule.
    LeavesSomeInTheSchedule,
    /// Two runners have the right to one replay.
    SharesReplays,
    /// Commands are accepted and forgotten.
    ForgetsCommands,
    /// The last counter of a call is lost.
    LosesACounter,
    /// Old counters stay as they are.
    FoldsNothing,
    /// Counts of events are those of an empty log.
    CountsNoEvent,
}

/// The store.
#[derive(Debug, Clone)]
pub(crate) struct Faulty {
    store: Store,
    engine: MemoryEngine,
    clock: ManualClock,
    fault: Fault,
    /// The newest lease of each segment, as the store gave it.
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
