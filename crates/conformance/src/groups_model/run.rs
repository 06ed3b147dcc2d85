//! One round: random operations run on the store, through one of two processes, and on the model. The results are
//! compared.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{
    Cursor, TypePattern,
    dead_letter::DeadLetter,
    group::{GroupKey, GroupSpec, LaneBatch, LaneOrigin, Lease, NewLaneBatch, partition_of},
    ports::{
        Clock as _, DeadLetterQuery, GroupStoreError, LeaseRequest, ReplayLease, ReplayRecord, ReplayState,
        ReplayUpdate, SegmentCommit,
    },
};
use jiff::Timestamp;

use super::{
    draw::{CONSUMERS, Draw, EVENTS, GROUPS, REPLAYS},
    oracle::Oracle,
};
use crate::{Bench, Draft, Stores};

/// Duration of leases. It is not a whole number of seconds, but the clock is, so no lease ends exactly at the current
/// time.
const LEASE: Duration = Duration::from_millis(20_500);
/// Number of newest leases from which the lease of a commit is drawn.
const REMEMBERED: usize = 12;

pub(crate) struct Run {
    bench: Bench,
    handles: [Arc<dyn Stores>; 2],
    draw: Draw,
    oracle: Oracle,
    runners: Vec<ReplayLease>,
    leases: Vec<Lease>,
    /// Number of the next batch of a replay.
    next_batch: u64,
    here: String,
    seed: u64,
}

/// Prints the current operation if a check panics.
struct Told<'a>(&'a str);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        #[allow(clippy::print_stderr, reason = "it stands beside what the panic itself says")]
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

impl Run {
    pub(crate) async fn new(bench: Bench, seed: u64) -> Self {
        let handles = [bench.store.clone(), bench.storage.open().await];
        let mut oracle = Oracle::default();
        let partitions = usize::from(bench.partitions);
        oracle.log = vec![Vec::new(); partitions];
        // Adds the same number of events to each partition. Each event has its id as ordering key.
        for n in 0.. {
            let event = Draft::new(&format!("e-{n}")).with("userId", format!("u{}", n % 4)).event();
            let own = &mut oracle.log[usize::from(partition_of(&event.ordering_key(), bench.partitions))];
            if own.len() < EVENTS {
                bench.store_all(std::slice::from_ref(&event)).await;
                own.push(event);
            }
            if oracle.log.iter().all(|own| own.len() == EVENTS) {
                break;
            }
        }
        let mut runners = Vec::new();
        for id in REPLAYS {
            let now = bench.clock.now();
            let record = ReplayRecord {
                id: (*id).to_owned(),
                state: ReplayState::Planned,
                created_at: now,
                updated_at: now,
                plan: String::new(),
                progress: String::new(),
                steering: None,
                hold: None,
            };
            bench.store.create_replay(&record).await.unwrap();
            let lease = bench.store.lease_replay(id, seed, Duration::from_secs(1_000_000)).await.unwrap();
            runners.push(lease.expect("a lease"));
        }
        let draw = Draw::new(seed);
        Self {
            bench,
            handles,
            draw,
            oracle,
            runners,
            leases: Vec::new(),
            next_batch: 0,
            here: String::new(),
            seed,
        }
    }

    pub(crate) async fn step(&mut self, step: usize) {
        let start = format!("EVENT_REPLAY_SEED={} EVENT_REPLAY_ROUNDS=1, step {step}", self.seed);
        self.here.clone_from(&start);
        self.bench.clock.advance(Duration::from_secs(self.draw.rng.u64(..8)));
        self.draw.at(self.now());
        match self.draw.rng.u32(..32) {
            0..=2 => self.create().await,
            3..=9 => self.lease().await,
            10 => self.leave().await,
            11..=19 => self.commit().await,
            20..=23 => self.enqueue().await,
            24 => self.withdraw().await,
            25 => self.settle().await,
            26 => self.reset().await,
            27 => self.delete().await,
            28..=29 => self.redrive().await,
            30 => self.discard().await,
            _ => self.purge().await,
        }
        self.check().await;
    }

    /// Compares the final state with the model through new handles. All leases have expired by then, so a new consumer
    /// takes the segments.
    pub(crate) async fn finish(&mut self) {
        self.bench.clock.advance(Duration::from_secs(1_000));
        self.handles = [self.bench.storage.open().await, self.bench.storage.open().await];
        self.here = format!("EVENT_REPLAY_SEED={} EVENT_REPLAY_ROUNDS=1, at the end", self.seed);
        self.check().await;
        let names: Vec<String> = self.oracle.groups.keys().cloned().collect();
        for name in names {
            self.lease_as(&name, "heir", self.seed ^ 99).await;
        }
        self.bench.verify_is_clean().await;
    }

    fn now(&self) -> Timestamp {
        self.bench.clock.now()
    }

    fn store(&mut self) -> Arc<dyn Stores> {
        self.handles[self.draw.rng.usize(..2)].clone()
    }

    fn doing(&mut self, what: impl std::fmt::Debug) {
        self.here = format!("{}: {what:#?}", self.here);
    }

    async fn mark(&mut self) -> Cursor {
        let head = self.bench.store.head().await.unwrap();
        let draw = |_| self.draw.rng.u64(..=EVENTS as u64);
        Cursor { sequences: (0..self.bench.partitions).map(draw).collect(), ..head }
    }

    /// Draws the name of a group that may exist.
    fn name(&mut self) -> String {
        self.draw.pick(GROUPS).to_owned()
    }

    async fn create(&mut self) {
        let mark = self.mark().await;
        let name = self.name();
        let partitions = self.bench.partitions;
        let mut spec = GroupSpec { segments: partitions * self.draw.rng.u16(1..=4), ..GroupSpec::new(name) };
        if self.draw.rng.bool() && partitions == 1 {
            spec.key = GroupKey::Entity("user".to_owned());
        }
        if let Some(existing) = self.oracle.groups.get(&spec.name).filter(|_| self.draw.rng.bool()) {
            (spec.key, spec.segments) = (existing.spec.key.clone(), existing.spec.segments);
        }
        if self.draw.rng.bool() {
            spec.types.push(TypePattern::new(self.draw.pick(&["a.*", "b"])));
        }
        self.doing(("create", &spec, &mark));
        let answer = self.store().create_group(&spec, &mark).await;
        if self.oracle.create(&spec, &mark.sequences, self.now()) {
            assert_eq!(answer.unwrap().spec, spec, "{}", self.here);
        } else {
            assert!(matches!(answer, Err(GroupStoreError::Differs { .. })), "{}: {answer:?}", self.here);
        }
    }

    async fn lease(&mut self) {
        let (group, consumer) = (self.name(), self.draw.pick(CONSUMERS));
        let token = consumer.bytes().fold(self.seed, |sum, byte| sum.rotate_left(11) ^ u64::from(byte));
        self.lease_as(&group, consumer, token).await;
    }

    async fn lease_as(&mut self, group: &str, consumer: &str, token: u64) {
        let request =
            LeaseRequest { group: group.to_owned(), consumer: consumer.to_owned(), token, duration: LEASE };
        self.doing(&request);
        let answer = self.store().lease(&request).await;
        let now = self.now();
        self.doing(&answer);
        let _told = Told(&self.here);
        let Some(group) = self.oracle.groups.get_mut(group) else {
            assert_eq!(answer, Err(GroupStoreError::NoGroup(request.group)));
            return;
        };
        let answer = answer.unwrap();
        group.lease(&request, &answer, now);
        self.leases.extend(answer.taken.into_iter().map(|(lease, _)| lease));
        let surplus = self.leases.len().saturating_sub(REMEMBERED);
        self.leases.drain(..surplus);
    }

    async fn leave(&mut self) {
        let (group, consumer) = (self.name(), self.draw.pick(CONSUMERS));
        let Some(own) = self.oracle.groups.get_mut(&group) else { return };
        let token = consumer.bytes().fold(self.seed, |sum, byte| sum.rotate_left(11) ^ u64::from(byte));
        own.leave(consumer);
        self.doing(("leave", &group, consumer));
        self.store().leave(&group, consumer, token).await.unwrap();
    }

    async fn commit(&mut self) {
        let mut commits: Vec<SegmentCommit> = Vec::new();
        for _ in 0..self.draw.rng.usize(1..=3) {
            if self.leases.is_empty() {
                return;
            }
            let lease = self.leases[self.draw.rng.usize(..self.leases.len())].clone();
            let again =
                commits.iter().any(|it| (&it.lease.group, it.lease.segment) == (&lease.group, lease.segment));
            if !again && self.oracle.holds(&lease).is_some() {
                commits.push(self.oracle.draw_commit(lease, &mut self.draw));
            }
        }
        self.doing(&commits);
        let outcomes = self.store().commit(&commits).await.unwrap();
        assert_eq!(outcomes.len(), commits.len(), "{}", self.here);
        for (commit, outcome) in commits.iter().zip(outcomes) {
            let expected = self.oracle.commit(commit, self.bench.clock.now());
            assert_eq!(outcome, expected, "{}", self.here);
        }
    }

    async fn enqueue(&mut self) {
        let mut batches = Vec::new();
        for _ in 0..self.draw.rng.usize(1..4) {
            let (group, segment) = (self.name(), self.draw.rng.u16(..4 * self.bench.partitions + 1));
            let had = self.oracle.had(&group, segment);
            let (replay_id, batch) = if had.is_empty() || self.draw.rng.bool() {
                self.next_batch += 1;
                (self.draw.pick(REPLAYS).to_owned(), self.next_batch)
            } else {
                had[self.draw.rng.usize(..had.len())].clone()
            };
            let origin = LaneOrigin::Replay { replay_id, batch };
            batches.push(NewLaneBatch { group, segment, origin, positions: self.draw.positions() });
        }
        let runner = self.draw.rng.bool().then(|| self.runners[0].clone());
        self.doing(("enqueue", &batches));
        let outcomes = self.store().enqueue(runner.as_ref(), &batches).await.unwrap();
        let expected: Vec<_> = batches.iter().map(|batch| self.oracle.enqueue(batch)).collect();
        assert_eq!(outcomes, expected, "{}", self.here);
    }

    async fn withdraw(&mut self) {
        let replay = self.draw.pick(REPLAYS);
        self.doing(("withdraw", replay));
        let gone = self.store().withdraw(replay).await.unwrap();
        assert_eq!(gone, self.oracle.withdraw(replay), "{}", self.here);
    }

    /// Simulates a runner that adds the results of a replay's oldest batches to its progress.
    async fn settle(&mut self) {
        let runner = self.runners[self.draw.rng.usize(..self.runners.len())].clone();
        let settled_batches = self.draw.rng.u64(..=self.next_batch);
        self.doing(("settle", &runner.replay_id, settled_batches));
        let state = ReplayState::Running;
        let update = ReplayUpdate { state, progress: String::new(), hold: None, settled_batches };
        self.store().update_replay(&runner, &update).await.unwrap();
        let results = self.oracle.results.entry(runner.replay_id).or_default();
        results.retain(|result| result.batch >= settled_batches);
    }

    async fn reset(&mut self) {
        let (group, mark) = (self.name(), self.mark().await);
        self.doing(("reset", &group, &mark));
        let answer = self.store().reset_group(&group, &mark).await;
        match self.oracle.groups.get_mut(&group) {
            Some(own) => {
                answer.unwrap();
                own.reset(&mark.sequences);
            }
            None => assert_eq!(answer, Err(GroupStoreError::NoGroup(group)), "{}", self.here),
        }
    }

    async fn delete(&mut self) {
        let group = self.name();
        self.doing(("delete", &group));
        let deleted = self.store().delete_group(&group).await.unwrap();
        assert_eq!(deleted, self.oracle.groups.remove(&group).is_some(), "{}", self.here);
        let letters = self.letters().await;
        self.oracle.strand(&group, &letters);
    }

    /// Draws ids of dead letters for which the ports define the effect of an operation. Adds an unknown id and repeats
    /// one id.
    fn letter_ids(&mut self) -> Vec<String> {
        let mut ids: Vec<String> = self.oracle.letters.iter().map(|letter| letter.id.clone()).collect();
        ids.retain(|id| self.draw.one_in(3) && self.oracle.is_certain(id));
        ids.push("unknown".to_owned());
        ids.extend(ids.first().cloned());
        ids
    }

    async fn redrive(&mut self) {
        let ids = self.letter_ids();
        self.doing(("redrive", &ids));
        let changes = self.store().redrive(&ids).await.unwrap();
        let now = self.now();
        let expected: Vec<_> = ids.iter().map(|id| self.oracle.redrive(id, now)).collect();
        assert_eq!(changes, expected, "{}", self.here);
    }

    async fn discard(&mut self) {
        // If the group does not exist, the ports do not define the second result of a repeated id. So only one id is
        // used.
        let ids: Vec<String> = self.letter_ids().into_iter().take(1).collect();
        self.doing(("discard", &ids));
        let changes = self.store().discard(&ids, "\u{202e}why").await.unwrap();
        let now = self.now();
        let expected: Vec<_> = ids.iter().map(|id| self.oracle.discard(id, "\u{202e}why", now)).collect();
        assert_eq!(changes, expected, "{}", self.here);
    }

    async fn purge(&mut self) {
        let before = self.now() - Duration::from_secs(self.draw.rng.u64(..200));
        self.doing(("purge", before));
        let gone = self.store().purge_dead_letters(before).await.unwrap();
        assert_eq!(gone, self.oracle.purge(before), "{}", self.here);
    }

    async fn letters(&mut self) -> Vec<DeadLetter> {
        let query = DeadLetterQuery { limit: 10_000, ..DeadLetterQuery::default() };
        self.store().dead_letters(&query).await.unwrap()
    }

    /// Compares everything that is visible without a lease.
    async fn check(&mut self) {
        let letters = self.letters().await;
        let store = self.store();
        let records = store.groups().await.unwrap();
        let now = self.now();
        let _told = Told(&self.here);
        self.oracle.check_letters(&letters);
        let names: Vec<&String> = records.iter().map(|record| &record.spec.name).collect();
        assert_eq!(names, Vec::from_iter(self.oracle.groups.keys()));
        for (record, (name, group)) in records.iter().zip(&mut self.oracle.groups) {
            let status = store.group(name).await.unwrap().expect("a group");
            assert_eq!(status.record, *record);
            group.check_status(&status, now);
            let mut rows = store.blocked_keys(name, 1_000).await.unwrap();
            assert!(rows.is_sorted_by_key(|(_, row)| row.position), "{rows:#?}");
            rows.sort_by(|(one, left), (other, right)| (one, &left.key).cmp(&(other, &right.key)));
            let mut expected = Vec::new();
            let all: Vec<(u16, u64)> = (0..).zip(&group.segments).map(|(at, _)| (at, 0)).collect();
            let mut lanes: BTreeMap<u16, Vec<LaneBatch>> = BTreeMap::new();
            for batch in store.lane(name, &all, 1_000_000).await.unwrap() {
                lanes.entry(batch.segment).or_default().push(batch);
            }
            for (at, segment) in (0..).zip(&mut group.segments) {
                expected.extend(segment.rows.values().map(|row| (at, row.clone())));
                segment.check_lane(&lanes.remove(&at).unwrap_or_default());
            }
            assert_eq!(rows, expected);
        }
        for replay in REPLAYS {
            let mut results = store.results(replay, 10_000).await.unwrap();
            assert!(results.is_sorted_by_key(|result| result.batch), "{results:#?}");
            let expected = self.oracle.results.entry((*replay).to_owned()).or_default();
            let place = |it: &domain::group::LaneResult| (it.batch, it.group.clone(), it.segment);
            results.sort_by_key(place);
            expected.sort_by_key(place);
            assert_eq!(results, *expected, "results of {replay}");
        }
    }
}
