//! The consumer of one group in one process: a task that reads, claims, delivers and commits.
//!
//! # Design
//! One task owns all state of the group's leased segments. All slow work (reads, commits, leases, handlers) runs in
//! separate tasks. The actor waits until one of them ends. After each result, [`Actor::pump`] does all work that is
//! possible.
//!
//! The number of deliveries that may repeat after a crash is bounded. Deliveries that are with handlers, and deliveries
//! that are answered and not committed, are together at most [`OPEN`]. An answer is committed within [`COMMIT_WITHIN`].

mod committing;
mod draining;
mod isolation;
mod lanes;
mod launching;
mod leasing;
mod outage;
mod pausing;
mod reading;

use std::{
    cell::OnceCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use domain::{
    Cursor, DeliveryOrigin, StoredEvent,
    group::{Gap, GroupPause, Key, LaneBatch, Lease, SegmentState},
    ports::{CommitOutcome, EventStoreError, GroupStoreError, Leases, SegmentCommit},
    time::until,
};
use jiff::Timestamp;
use tokio::{
    sync::{OwnedRwLockWriteGuard, watch},
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::Instant,
};

use super::{
    breaker::Breaker,
    fetch::{BatchEvents, BatchRequest, KeyEvents},
    handing::{Handed, Handling, Router},
    log::{LogReader, Piece},
    ready::{Ready, ReadyQueue},
    rules::Rules,
    segment::Segment,
    settings::ConsumerSettings,
    status::ConsumerState,
    stopping::Stopping,
    tally::Tally,
    work::{DeliveryId, Effects, FetchRequest, StepContext},
};
use crate::shared::Shared;

/// The highest number of deliveries of a consumer that are with handlers, or answered and not committed.
pub(crate) const OPEN: usize = 100;
/// The longest time between an answer and its commit.
pub(crate) const COMMIT_WITHIN: Duration = Duration::from_millis(50);
/// The number of fetched deliveries below which the consumer fetches more.
const FETCH_BELOW: usize = 512;
/// The time that free handlers wait behind a slow delivery before its key moves to the ledger.
const STUCK_AFTER: Duration = Duration::from_millis(20);
/// The interval of commits of cursors that moved without answers.
const QUIET_COMMIT: Duration = Duration::from_secs(1);

/// The reason why a consumer ended by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsumerError {
    /// The consumer's group was deleted.
    #[error("the group {0:?} was deleted")]
    GroupDeleted(String),
    /// A part of the consumer panicked. The cause is a defect of this program or of the store's adapter.
    #[error("the consumer of {0:?} failed within itself; its log says more")]
    Broken(String),
}

/// The result of a task that works for the actor.
enum Io {
    Read(reading::Asked, Result<Piece, EventStoreError>),
    Leased(Instant, Result<Leases, GroupStoreError>),
    Committed(Vec<SegmentCommit>, Result<Vec<CommitOutcome>, GroupStoreError>),
    Lane(Result<Vec<LaneBatch>, GroupStoreError>),
    Key(u16, u64, Key, Result<KeyEvents, EventStoreError>),
    Batches(Vec<BatchRequest>, Result<BatchEvents, String>),
    Alone(OwnedRwLockWriteGuard<()>),
    Pauses(Result<Vec<GroupPause>, GroupStoreError>),
    /// A write is complete. Its outcome changes no state of the actor.
    Noted,
}

/// The mode of deliveries in this process: several at the same time, or one alone.
enum Isolation {
    Shared,
    /// A task waits until the running deliveries have ended.
    Draining(AbortHandle),
    Exclusive {
        _guard: OwnedRwLockWriteGuard<()>,
        /// The segment whose isolated attempt runs.
        isolated: Option<u16>,
    },
}

struct Running {
    unit: DeliveryId,
    stored: StoredEvent,
    origin: DeliveryOrigin,
    attempt: u32,
    abort: AbortHandle,
}

pub(crate) struct Actor {
    shared: Arc<Shared>,
    log: Arc<LogReader>,
    settings: ConsumerSettings,
    rules: Rules,
    handling: Arc<Handling>,
    tally: Tally,
    token: u64,
    head: watch::Receiver<Option<Cursor>>,
    stop: watch::Receiver<Stopping>,
    state: watch::Sender<ConsumerState>,
    segments: BTreeMap<u16, Segment>,
    /// Segments that were leased again while handlers of their last lease still run.
    arriving: HashMap<u16, (Lease, SegmentState)>,
    ready: ReadyQueue,
    /// Isolated attempts that are committed and may start.
    isolated: Vec<Ready>,
    tasks: JoinSet<Handed>,
    running: HashMap<Id, Running>,
    io: JoinSet<Io>,
    fetch_requests: Vec<(u16, u64, FetchRequest)>,
    fetches: usize,
    /// Lane batches whose fetch failed: the time of the next try, the segment and the lease epoch.
    batches_again: Vec<(Instant, u16, u64)>,
    reading: bool,
    read_again: Instant,
    leasing: bool,
    lease_again: Instant,
    /// The time before which no other consumer can take the leased segments.
    lease_good_until: Instant,
    committing: bool,
    commit_again: Option<(Instant, Vec<SegmentCommit>)>,
    /// The number of answers in the commit in progress.
    committing_answers: usize,
    /// The time at which the oldest answer without a commit must be committed.
    commit_due: Option<Instant>,
    quiet_commit: Instant,
    looking: bool,
    look_again: Instant,
    faults: u32,
    /// The calls to the store that are in progress, and the calls that fail.
    calls: outage::Calls,
    isolation: Isolation,
    breaker: Breaker,
    /// The pauses of the group that are in effect, except the pause of this consumer's own breaker.
    pauses: Vec<GroupPause>,
    /// Whether the store has reported the pauses at least once.
    knows_pauses: bool,
    asking_pauses: bool,
    ask_pauses_again: Instant,
    gaps: Vec<Gap>,
    /// Orphaned leases: by the store's last answer this consumer holds them, but the consumer does not know them.
    strays: Vec<Lease>,
    /// Whether an orphaned lease was in two answers in a row.
    has_strays: bool,
    /// Whether the group's types differ from this consumer's types.
    stands_aside: bool,
    /// The segment that claims first.
    turn: u16,
    stuck_since: Option<Instant>,
    ended: Option<ConsumerError>,
}

impl Actor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        settings: ConsumerSettings,
        rules: Rules,
        router: Router,
        stop: watch::Receiver<Stopping>,
        state: watch::Sender<ConsumerState>,
    ) -> Self {
        let now = Instant::now();
        let log = Arc::clone(&shared.log);
        let tally = Tally::new(shared.meter.clone(), rules.spec.name.clone());
        let handling = Arc::new(Handling { router, shared: Arc::clone(&shared), timeout: settings.timeout });
        Self {
            tally,
            head: log.head(),
            token: fastrand::u64(1..),
            segments: BTreeMap::new(),
            arriving: HashMap::new(),
            ready: ReadyQueue::default(),
            isolated: Vec::new(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            io: JoinSet::new(),
            fetch_requests: Vec::new(),
            fetches: 0,
            batches_again: Vec::new(),
            reading: false,
            read_again: now,
            leasing: false,
            lease_again: now,
            lease_good_until: now,
            committing: false,
            commit_again: None,
            committing_answers: 0,
            commit_due: None,
            quiet_commit: now + QUIET_COMMIT,
            looking: false,
            look_again: now,
            faults: 0,
            calls: outage::Calls::default(),
            isolation: Isolation::Shared,
            breaker: Breaker::new(settings.breaker),
            pauses: Vec::new(),
            knows_pauses: false,
            asking_pauses: false,
            ask_pauses_again: now,
            gaps: Vec::new(),
            strays: Vec::new(),
            has_strays: false,
            stands_aside: false,
            turn: 0,
            stuck_since: None,
            ended: None,
            shared,
            log,
            settings,
            rules,
            handling,
            stop,
            state,
        }
    }

    /// Runs until the consumer is stopped or its group is deleted.
    pub(crate) async fn run(mut self) -> Result<(), ConsumerError> {
        let _interest = self.log.wants(self.rules.spec.types.clone());
        while *self.stop.borrow() == Stopping::No && self.ended.is_none() {
            self.pump();
            self.wait().await;
        }
        match self.ended.take() {
            Some(error) => Err(error),
            None => {
                self.drain().await;
                Ok(())
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Waits until something happens, and records it.
    async fn wait(&mut self) {
        let timer = self.next_timer();
        tokio::select! {
            Some(done) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => {
                self.handed(done);
                // The results of other tasks that have ended meanwhile are recorded before the next decision.
                while let Some(done) = self.tasks.try_join_next_with_id() {
                    self.handed(done);
                }
            }
            Some(io) = self.io.join_next(), if !self.io.is_empty() => {
                self.came(io);
                while let Some(io) = self.io.try_join_next() {
                    self.came(io);
                }
            }
            _ = self.head.changed() => {}
            _ = self.stop.changed() => {}
            () = tokio::time::sleep_until(timer) => {}
        }
    }

    /// Returns the time of the next work for which no other event wakes the actor. Only work that the next
    /// [`Actor::pump`] can do counts. A timer that expires without effect would make the actor spin.
    fn next_timer(&self) -> Instant {
        let at = Instant::now();
        let due = self.segments.values().filter_map(Segment::next_due).min();
        let may_commit = !self.committing && self.commit_again.is_none();
        let timers = [
            due.map(|due| at + until(self.now(), due)),
            self.commit_again.as_ref().map(|(again, _)| *again),
            may_commit.then_some(self.quiet_commit),
            self.commit_due.filter(|_| may_commit),
            (!self.leasing).then_some(self.lease_again),
            (!self.looking).then_some(self.look_again),
            Some(self.read_again).filter(|again| !self.reading && *again > at),
            self.stuck_since.map(|since| since + STUCK_AFTER),
            self.batches_again.iter().map(|(again, ..)| *again).min(),
            self.calls.next_silence(),
            (!self.asking_pauses).then_some(self.ask_pauses_again),
            self.breaker.next().filter(|probe| *probe > at),
        ];
        timers.into_iter().flatten().min().unwrap_or(at + QUIET_COMMIT)
    }

    /// Does all work that is possible now. It runs after each delivery, so it reads the clock once.
    fn pump(&mut self) {
        let now = Instant::now();
        self.wake();
        self.note_silence(now);
        self.renew(now);
        self.ask_pauses(now);
        self.start_isolated_attempt();
        self.spill_slow_keys(now);
        self.commit(now);
        self.launch(now);
        self.fetch_again(now);
        self.fetch();
        self.read(now);
        self.look(now);
    }

    fn wake(&mut self) {
        // The clock is read once, and only if a segment waits for a time.
        let now = OnceCell::new();
        let is_past = |due: Timestamp| due <= *now.get_or_init(|| self.now());
        let due: Vec<u16> = self
            .segments
            .iter()
            .filter(|(_, segment)| segment.next_due().is_some_and(is_past))
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            self.with(number, |segment, at| segment.wake(at));
        }
    }

    /// Applies a step to a segment, and processes the effects of the step.
    fn with<T>(
        &mut self,
        number: u16,
        happen: impl FnOnce(&mut Segment, &mut StepContext<'_>) -> T,
    ) -> Option<T> {
        let now = self.now();
        self.with_at(now, number, happen)
    }

    /// Applies a step at this time, as [`Actor::with`] does.
    fn with_at<T>(
        &mut self,
        now: Timestamp,
        number: u16,
        happen: impl FnOnce(&mut Segment, &mut StepContext<'_>) -> T,
    ) -> Option<T> {
        let segment = self.segments.get_mut(&number)?;
        let mut at = StepContext::new(&self.rules, now);
        let result = happen(segment, &mut at);
        let (epoch, effects) = (segment.lease.epoch, at.effects);
        self.take_up(number, epoch, effects, now);
        Some(result)
    }

    fn take_up(&mut self, segment: u16, epoch: u64, effects: Effects, now: Timestamp) {
        for work in effects.work {
            let unit = DeliveryId { segment, epoch, source: work.source.clone() };
            let needs_isolation =
                self.segments.get(&segment).is_some_and(|segment| segment.needs_isolation(&unit.source));
            let ready = Ready::new(unit, work, now);
            if needs_isolation { self.isolated.push(ready) } else { self.ready.push(ready) }
        }
        self.fetch_requests.extend(effects.fetch_requests.into_iter().map(|want| (segment, epoch, want)));
    }

    /// Returns the segment of a delivery, if the segment is still leased with the same epoch.
    fn segment_of(&mut self, unit: &DeliveryId) -> Option<&mut Segment> {
        self.segments.get_mut(&unit.segment).filter(|segment| segment.lease.epoch == unit.epoch)
    }

    fn came(&mut self, io: Result<Io, JoinError>) {
        let io = match io {
            Ok(io) => io,
            Err(error) if error.is_cancelled() => return,
            Err(error) => {
                tracing::error!(group = %self.rules.spec.name, %error, "a part of the consumer ended early");
                self.ended = Some(ConsumerError::Broken(self.rules.spec.name.clone()));
                return;
            }
        };
        match io {
            Io::Read(asked, piece) => self.came_from_log(&asked, piece),
            Io::Leased(asked, leases) => self.leased(asked, leases),
            Io::Committed(commits, outcome) => self.committed(commits, outcome),
            Io::Lane(batches) => self.looked(batches),
            Io::Key(number, epoch, key, events) => self.key_came(number, epoch, &key, events),
            Io::Batches(batches, events) => self.batches_came(batches, events),
            Io::Pauses(pauses) => self.came_pauses(pauses),
            Io::Noted => {}
            Io::Alone(guard) => self.isolation = Isolation::Exclusive { _guard: guard, isolated: None },
        }
    }
}
