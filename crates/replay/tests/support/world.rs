//! A store on tokio's clock, with groups, simulated consumers, and a way to lose any answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use conformance::{EngineCall, EngineHook, TransactionExt};
use domain::{
    Position, StorageFailure, TypePattern,
    dead_letter::{Failure, NewDeadLetter, fingerprint},
    group::{GroupSpec, LaneBatch, LaneFailure, LaneOrigin, LaneProgress, Lease, REMOVED, SegmentState},
    ports::{
        Clock, CommitOutcome, EventStore, GroupStore, LeaseRequest, SegmentCommit, StorageEngine,
        engine::{Outcome, SpaceKind, Transaction},
    },
};
use event_replay_replay::ReplayManager;
use jiff::{SignedDuration, Timestamp};
use storage_memory::MemoryEngine;
use store::Store;
use tokio::{task::JoinHandle, time::Instant};

use super::{append, behind};

/// A clock that follows tokio's clock.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock(Instant);

impl TokioClock {
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2024-06-01T12:00:00Z".parse().unwrap();
        start + SignedDuration::try_from(self.0.elapsed()).unwrap()
    }
}

/// The number of references put into lanes, with the time of each write.
pub type Enqueued = Arc<Mutex<Vec<(Instant, usize)>>>;

/// A handle on a store with slow calls. It waits before and after each call.
#[derive(Clone)]
pub struct Slow {
    pub enqueued: Enqueued,
    dice: Arc<Mutex<fastrand::Rng>>,
    most_micros: u64,
    /// The percentage of answers to lose.
    pub loses: u8,
}

impl Slow {
    pub fn new(seed: u64, most: Duration) -> Self {
        Self {
            enqueued: Enqueued::default(),
            dice: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))),
            most_micros: most.as_micros() as u64,
            loses: 0,
        }
    }

    pub fn manager(self, store: &Arc<Store>, clock: TokioClock) -> ReplayManager {
        manager(&behind(store, Arc::new(self)), clock)
    }

    async fn wait(&self) {
        let micros = self.dice.lock().unwrap().u64(0..=self.most_micros);
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
}

#[async_trait]
impl EngineHook for Slow {
    async fn before(&self, _: &EngineCall<'_>) -> Result<(), StorageFailure> {
        self.wait().await;
        Ok(())
    }

    async fn commit(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        transactions: &[Transaction],
    ) -> Result<Vec<Outcome>, StorageFailure> {
        let outcomes = engine.commit(partition, transactions).await?;
        for (transaction, _) in transactions.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_done()) {
            for (_, batch) in transaction.puts(SpaceKind::Lane) {
                let batch: serde_json::Value = serde_json::from_slice(batch).unwrap();
                let references = batch["positions"].as_array().unwrap().len();
                self.enqueued.lock().unwrap().push((Instant::now(), references));
            }
        }
        Ok(outcomes)
    }

    /// Sometimes reports a lost answer for a call that was performed.
    async fn after(&self, _: &EngineCall<'_>) -> Result<(), StorageFailure> {
        self.wait().await;
        match self.dice.lock().unwrap().u8(0..100) < self.loses {
            true => Err(StorageFailure::Unknown("cut".to_owned())),
            false => Ok(()),
        }
    }
}

/// Creates a manager of replays into groups.
pub fn manager(store: &Arc<Store>, clock: TokioClock) -> ReplayManager {
    ReplayManager::new(store.clone(), store.clone(), store.clone(), None, Arc::new(clock))
        .with_groups(store.clone())
}

/// The outcome of a simulated handler for the event at a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Makes {
    Handled,
    Failed,
    Skipped,
    /// The event no longer exists.
    Removed,
}

pub type Script = Arc<dyn Fn(u64) -> Makes + Send + Sync>;

/// Handles every event.
pub fn well() -> Script {
    Arc::new(|_| Makes::Handled)
}

/// The events that consumers received, with their groups, in order.
pub type Handed = Arc<Mutex<Vec<(String, u64)>>>;

/// A simulated consumer. It takes every segment of its group, and handles the events from the lanes.
pub struct Consumer(JoinHandle<()>);

impl Consumer {
    pub fn start(store: &Arc<Store>, group: &str, handed: &Handed, takes: Duration, script: Script) -> Self {
        let player = Player {
            store: Arc::clone(store),
            group: group.to_owned(),
            handed: Arc::clone(handed),
            takes,
            script,
            states: BTreeMap::new(),
        };
        Self(tokio::spawn(player.play()))
    }

    pub async fn stop(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Player {
    store: Arc<Store>,
    group: String,
    handed: Handed,
    takes: Duration,
    script: Script,
    states: BTreeMap<u16, (Lease, SegmentState)>,
}

impl Player {
    async fn play(mut self) {
        let token = fastrand::u64(..);
        let mut renew = Instant::now();
        loop {
            if Instant::now() >= renew {
                self.renew(token).await;
                renew = Instant::now() + Duration::from_secs(1);
            }
            let after: Vec<(u16, u64)> = self.states.keys().map(|segment| (*segment, 0)).collect();
            let batches = self.store.lane(&self.group, &after, 1000).await.unwrap();
            let pause = Duration::from_millis(if batches.is_empty() { 20 } else { 1 });
            for batch in batches {
                self.hand_over(batch).await;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn renew(&mut self, token: u64) {
        let (consumer, duration) = (format!("player-{token}"), Duration::from_secs(20));
        let request = LeaseRequest { group: self.group.clone(), consumer, token, duration };
        // The group may have been deleted. The consumer then has no leases.
        let leases = self.store.lease(&request).await.unwrap_or_default();
        for (lease, state) in leases.taken {
            self.states.insert(lease.segment, (lease, state));
        }
        self.states.retain(|_, (lease, _)| leases.held.contains(lease));
    }

    fn commit(&self, segment: u16) -> SegmentCommit {
        let (lease, state) = &self.states[&segment];
        SegmentCommit::new(lease.clone(), state.cursor, state.claimed_to)
    }

    async fn hand_over(&self, batch: LaneBatch) {
        let claimed = LaneProgress { claimed_to: batch.positions.len() as u32, ..LaneProgress::default() };
        let mut commit = self.commit(batch.segment);
        commit.lane.push((batch.seq, claimed.clone()));
        if self.store.commit(&[commit]).await.unwrap() != [CommitOutcome::Committed] {
            return;
        }
        // The batch may have been withdrawn before the claim.
        let left = self.store.lane(&self.group, &[(batch.segment, batch.seq - 1)], 1).await.unwrap();
        if left.first().is_none_or(|first| first.seq != batch.seq) {
            return;
        }
        tokio::time::sleep(self.takes).await;
        let (progress, commit) = (claimed, self.commit(batch.segment));
        let done = self.handle(&batch, progress, commit).await;
        self.store.commit(&[done]).await.unwrap();
    }

    async fn handle(
        &self,
        batch: &LaneBatch,
        mut progress: LaneProgress,
        mut commit: SegmentCommit,
    ) -> SegmentCommit {
        for (index, sequence) in (0u32..).zip(&batch.positions) {
            progress.done.insert(index);
            let makes = (self.script)(*sequence);
            if makes != Makes::Skipped {
                self.handed.lock().unwrap().push((self.group.clone(), *sequence));
            }
            match makes {
                Makes::Handled => {
                    if let LaneOrigin::Redrive { dead_letter } = &batch.origin {
                        commit.handled_dead_letters.push(dead_letter.clone());
                    }
                }
                Makes::Failed => {
                    progress.failed.push(LaneFailure { index, error: format!("no {sequence}") });
                    commit.dead_letters.push(new_letter(*sequence));
                }
                Makes::Skipped => progress.skipped.push(index),
                Makes::Removed => progress.failed.push(LaneFailure { index, error: REMOVED.to_owned() }),
            }
        }
        commit.lane_done.push((batch.seq, progress));
        commit
    }
}

/// Returns the report of a consumer that gives up on an event.
pub fn new_letter(sequence: u64) -> NewDeadLetter {
    let error = format!("no {sequence}");
    NewDeadLetter {
        position: Position::new(0, sequence),
        attempts: 1,
        fingerprint: fingerprint("t", &error),
        failure: Failure { at: Timestamp::UNIX_EPOCH, errors: vec![error, "because".to_owned()] },
        earlier: Vec::new(),
        replay_id: None,
        parked: false,
    }
}

/// Makes a group give up on events, as its consumer would.
pub async fn give_up_on(store: &Store, group: &str, sequences: impl IntoIterator<Item = u64>) {
    let (consumer, duration) = ("giver-up".to_owned(), Duration::from_secs(1));
    let request = LeaseRequest { group: group.to_owned(), consumer: consumer.clone(), token: 7, duration };
    let (lease, state) = store.lease(&request).await.unwrap().taken.remove(0);
    let mut commit = SegmentCommit::new(lease, state.cursor, state.claimed_to);
    commit.dead_letters = sequences.into_iter().map(new_letter).collect();
    assert_eq!(store.commit(&[commit]).await.unwrap(), [CommitOutcome::Committed]);
    store.leave(group, &consumer, 7).await.unwrap();
}

/// Creates a store of `events` events on tokio's clock, with these groups at its end.
pub async fn world(events: u64, groups: &[(&str, &str)]) -> (Arc<Store>, TokioClock) {
    let clock = TokioClock::new();
    (world_on(MemoryEngine::new(Arc::new(clock)), events, groups).await, clock)
}

/// Creates a store of `events` events over the caller's engine, with these groups at its end.
pub async fn world_on(engine: MemoryEngine, events: u64, groups: &[(&str, &str)]) -> Arc<Store> {
    let store = Arc::new(Store::new(engine));
    append(&store, 0..events).await;
    for (name, types) in groups {
        make_group(&store, name, types).await;
    }
    store
}

pub async fn make_group(store: &Store, name: &str, types: &str) {
    let types = types.split_whitespace().map(TypePattern::new).collect();
    let spec = GroupSpec { types, ..GroupSpec::new(name) };
    store.create_group(&spec, &store.head().await.unwrap()).await.unwrap();
}

/// Returns how often a group received each sequence.
pub fn times(handed: &Handed, group: &str) -> BTreeMap<u64, u32> {
    let mut times = BTreeMap::new();
    for (_, sequence) in handed.lock().unwrap().iter().filter(|(to, _)| to == group) {
        *times.entry(*sequence).or_default() += 1;
    }
    times
}

/// Returns each of these sequences with the number 1.
pub fn once(sequences: impl IntoIterator<Item = u64>) -> BTreeMap<u64, u32> {
    sequences.into_iter().map(|sequence| (sequence, 1)).collect()
}
