//! Tests of the store in RAM where the laws of the ports leave a choice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{sync::Arc, time::Duration};

use conformance::{Draft, ManualClock};
use domain::{
    Cursor, Entity, Event, Position,
    dead_letter::{DeadLetterState, Failure, NewDeadLetter},
    group::{
        BlockedKey, GroupSpec, Key, LaneOrigin, LaneProgress, Lease, MAX_LANE_REFERENCES, NewLaneBatch,
        segment_of,
    },
    ordering::KeySource,
    ports::{
        Atomicity, Clock, CommitOutcome, DeadLetterChange, DeadLetterQuery, DeadLetterStore, EnqueueOutcome,
        EventStore, GroupHolds, GroupStore, LeaseRequest, ReplayCommand, ReplayRecord, ReplayState,
        ReplayStore, RetentionMode, ScheduleStore, SegmentCommit, TrimRequest,
    },
    retention::RetentionRule,
};
use event_replay_storage_memory::MemoryEngine;
use store::Store;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Bench {
    clock: ManualClock,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        Self::keeping(RetentionMode::History)
    }

    fn keeping(keeps: RetentionMode) -> Self {
        let clock = ManualClock::default();
        Self { store: Store::new(MemoryEngine::keeping(Arc::new(clock.clone()), keeps)), clock }
    }

    async fn append(&self, count: usize) -> Vec<Event> {
        let events: Vec<Event> = (1..=count)
            .map(|n| Draft::new(&format!("e{n}")).with("userId", &*format!("u{n}")).event())
            .collect();
        self.store.append(&events, Atomicity::Each).await.unwrap();
        events
    }

    async fn mark(&self, sequence: u64) -> Cursor {
        Cursor { sequences: vec![sequence], ..self.store.head().await.unwrap() }
    }

    async fn group(&self, name: &str, segments: u16) {
        let spec = GroupSpec { segments, ..GroupSpec::new(name) };
        self.store.create_group(&spec, &self.mark(0).await).await.unwrap();
    }

    async fn leases(&self, group: &str) -> Vec<Lease> {
        let (group, consumer) = (group.to_owned(), "c".to_owned());
        let request = LeaseRequest { group, consumer, token: 7, duration: DAY };
        self.store.lease(&request).await.unwrap().held
    }

    async fn commit(&self, commit: SegmentCommit) -> CommitOutcome {
        self.store.commit(&[commit]).await.unwrap().remove(0)
    }

    /// Gives up on the event at a sequence.
    async fn give_up(&self, lease: &Lease, sequence: u64) {
        let letter = NewDeadLetter {
            position: Position::new(0, sequence),
            attempts: 1,
            failure: Failure { at: self.clock.now(), errors: vec!["no".to_owned()] },
            fingerprint: "f".to_owned(),
            earlier: Vec::new(),
            replay_id: None,
            parked: false,
        };
        let commit = SegmentCommit::new(lease.clone(), sequence, sequence);
        let commit = SegmentCommit { dead_letters: vec![letter], ..commit };
        assert_eq!(self.commit(commit).await, CommitOutcome::Committed);
    }

    async fn letter_ids(&self, after: Option<&String>) -> Vec<String> {
        let query = DeadLetterQuery { after: after.cloned(), limit: 100, ..DeadLetterQuery::default() };
        self.store.dead_letters(&query).await.unwrap().into_iter().map(|letter| letter.id).collect()
    }

    async fn trim(&self, rule: RetentionRule, groups: GroupHolds) -> u64 {
        let request = TrimRequest { rule, holds: Vec::new(), limit: 1_000, dry_run: false, groups };
        self.store.trim(&request).await.unwrap().events
    }

    async fn gaps(&self, group: &str) -> Vec<(u64, u64)> {
        let status = self.store.group(group).await.unwrap().unwrap();
        status.record.gaps.iter().map(|gap| (gap.from, gap.to)).collect()
    }
}

/// Returns a rule that keeps the newest events, up to this number.
fn newest(max_events: u64) -> RetentionRule {
    RetentionRule { max_events: Some(max_events), ..RetentionRule::default() }
}

/// Returns group holds that hold no event stored before now.
fn nothing() -> GroupHolds {
    GroupHolds { max_hold: Some(Duration::ZERO), ..GroupHolds::default() }
}

fn of_replay(segment: u16, batch: u64, positions: Vec<u64>) -> NewLaneBatch {
    let origin = LaneOrigin::Replay { replay_id: "r".to_owned(), batch };
    NewLaneBatch { group: "g".to_owned(), segment, origin, positions }
}

#[tokio::test]
async fn a_lease_on_a_deleted_group_is_none_on_its_namesake() {
    let bench = Bench::new();
    bench.group("g", 1).await;
    let old = bench.leases("g").await.remove(0);
    assert!(bench.store.delete_group("g").await.unwrap());
    bench.group("g", 1).await;
    let new = bench.leases("g").await.remove(0);
    assert!(new.epoch > old.epoch, "the consumer and its token are the same");
    assert_eq!(bench.commit(SegmentCommit::new(old, 0, 9)).await, CommitOutcome::Fenced);
    assert_eq!(bench.commit(SegmentCommit::new(new, 0, 9)).await, CommitOutcome::Committed);
}

#[tokio::test]
async fn letters_on_their_way_to_a_deleted_group_are_open_again() {
    let bench = Bench::new();
    bench.append(2).await;
    bench.group("g", 1).await;
    let lease = bench.leases("g").await.remove(0);
    bench.give_up(&lease, 1).await;
    bench.give_up(&lease, 2).await;
    let ids = bench.letter_ids(None).await;
    bench.store.redrive(&ids[..1]).await.unwrap();
    bench.store.delete_group("g").await.unwrap();
    let letters = bench.store.dead_letters_by_id(&ids).await.unwrap();
    assert!(letters.iter().all(|letter| letter.state == DeadLetterState::Open), "{letters:?}");
    assert_eq!(bench.store.redrive(&ids).await.unwrap(), [DeadLetterChange::NoGroup; 2]);
    assert_eq!(bench.store.discard(&ids, "gone").await.unwrap(), [DeadLetterChange::Done; 2]);
}

#[tokio::test]
async fn pages_of_dead_letters_go_on_after_one_that_is_gone() {
    let bench = Bench::new();
    bench.append(4).await;
    bench.group("g", 1).await;
    let lease = bench.leases("g").await.remove(0);
    for sequence in 1..=4 {
        bench.give_up(&lease, sequence).await;
    }
    let ids = bench.letter_ids(None).await;
    bench.store.erase(&Entity::new("user", "u2")).await.unwrap();
    assert_eq!(bench.letter_ids(Some(&ids[1])).await, ids[2..]);
}

#[tokio::test]
async fn erasing_counts_an_event_and_its_copies_once() {
    let bench = Bench::new();
    let events = bench.append(2).await;
    bench.group("g", 1).await;
    let lease = bench.leases("g").await.remove(0);
    bench.give_up(&lease, 1).await;
    let later = Draft::new("later").with("userId", "u1").event();
    bench.store.schedule(&later, bench.clock.now()).await.unwrap();
    let erased = bench.store.erase(&Entity::new("user", "u1")).await.unwrap();
    let bytes = (events[0].size_bytes() + later.size_bytes()) as u64;
    assert_eq!((erased.events, erased.bytes), (2, bytes));
    // An event that was trimmed from the log is still in its dead letter.
    bench.give_up(&lease, 2).await;
    assert_eq!(bench.trim(newest(0), GroupHolds::default()).await, 1);
    assert_eq!(bench.store.erase(&Entity::new("user", "u2")).await.unwrap().events, 1);
    assert!(bench.letter_ids(None).await.is_empty());
}

#[tokio::test]
async fn a_batch_of_a_deleted_replay_leaves_no_result() {
    let bench = Bench::new();
    bench.append(1).await;
    bench.group("g", 1).await;
    let record = ReplayRecord {
        id: "r".to_owned(),
        state: ReplayState::Cancelled,
        created_at: bench.clock.now(),
        updated_at: bench.clock.now(),
        plan: String::new(),
        progress: String::new(),
        steering: None,
        hold: None,
    };
    let lease = bench.leases("g").await.remove(0);
    for results in [1, 0] {
        bench.store.create_replay(&record).await.unwrap();
        let queued = bench.store.enqueue(None, &[of_replay(0, 0, vec![1])]).await.unwrap();
        assert_eq!(queued, [EnqueueOutcome::Queued], "a replay of the same id is another one");
        let batch = bench.store.lane("g", &[(0, 0)], 10).await.unwrap().remove(0);
        if results == 0 {
            assert!(bench.store.delete_replay("r").await.unwrap());
        }
        let lane_done = vec![(batch.seq, LaneProgress::default())];
        bench.commit(SegmentCommit { lane_done, ..SegmentCommit::new(lease.clone(), 0, 0) }).await;
        assert_eq!(bench.store.results("r", 10).await.unwrap().len(), results);
        bench.store.delete_replay("r").await.unwrap();
        assert!(bench.store.results("r", 10).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_replay_that_is_to_end_does_not_rest() {
    let bench = Bench::new();
    let record = ReplayRecord {
        id: "r".to_owned(),
        state: ReplayState::Running,
        created_at: bench.clock.now(),
        updated_at: bench.clock.now(),
        plan: String::new(),
        progress: String::new(),
        steering: None,
        hold: None,
    };
    bench.store.create_replay(&record).await.unwrap();
    bench.store.lease_replay("r", 7, DAY).await.unwrap().unwrap();
    for command in [ReplayCommand::Cancel, ReplayCommand::Pause, ReplayCommand::Resume] {
        assert_eq!(
            bench.store.request("r", command).await.unwrap(),
            Some(ReplayState::Cancelling),
            "{command:?}"
        );
    }
}

#[tokio::test]
async fn one_lane_is_read_to_the_limit_and_none_is_left_out() {
    let bench = Bench::new();
    bench.group("g", 4).await;
    let batches: Vec<_> = (0..5).map(|n| of_replay(1, n, vec![1, 2, 3])).collect();
    bench.store.enqueue(None, &batches).await.unwrap();
    bench.store.enqueue(None, &[of_replay(3, 0, vec![1; MAX_LANE_REFERENCES + 1])]).await.unwrap();
    let all = [(0, 0), (1, 0), (2, 0), (3, 0), (9, 0)];
    let places = |batches: Vec<domain::group::LaneBatch>| -> Vec<(u16, u64)> {
        batches.iter().map(|batch| (batch.segment, batch.seq)).collect()
    };
    assert_eq!(places(bench.store.lane("g", &all, 1).await.unwrap()), [(1, 1), (3, 1)]);
    assert_eq!(places(bench.store.lane("g", &[(1, 1)], 7).await.unwrap()), [(1, 2), (1, 3)]);
    assert_eq!(places(bench.store.lane("g", &[(0, 0), (1, 0), (3, 1)], 99).await.unwrap()).len(), 5);
    assert_eq!(places(bench.store.lane("other", &all, 99).await.unwrap()), []);
}

#[tokio::test]
async fn a_gap_holds_what_waits_behind_a_key() {
    let bench = Bench::new();
    let event = |n: u64| {
        Draft::new(&format!("e{n}")).with("userId", if n.is_multiple_of(3) { "blocked" } else { "u" })
    };
    let events: Vec<Event> =
        (1..=12).map(|n| event(n).event().with_key_source(KeySource::Entity(0))).collect();
    bench.store.append(&events, Atomicity::Each).await.unwrap();
    bench.group("g", 2).await;
    let key = events[2].ordering_key();
    for lease in bench.leases("g").await {
        let blocked = BlockedKey {
            key: Key::from(key.clone()),
            position: 3,
            through: 9,
            claimed_to: 0,
            attempts: 1,
            ends: 2,
            due: None,
            error: String::new(),
            failures: Vec::new(),
            since: bench.clock.now(),
        };
        let blocked = if lease.segment == segment_of(&key, 0, 1, 2) { vec![blocked] } else { vec![] };
        bench.commit(SegmentCommit { blocked, ..SegmentCommit::new(lease, 12, 12) }).await;
    }
    bench.clock.advance(DAY);
    assert_eq!(bench.trim(newest(0), nothing()).await, 12);
    assert_eq!(bench.gaps("g").await, [(3, 9)], "what came after was not blocked");
}

#[tokio::test]
async fn gaps_of_one_trim_after_another_are_one() {
    let bench = Bench::new();
    bench.append(9).await;
    bench.group("g", 1).await;
    bench.group("passed", 1).await;
    let lease = bench.leases("passed").await.remove(0);
    bench.commit(SegmentCommit::new(lease, 9, 9)).await;
    bench.clock.advance(DAY);
    for left in [7, 4] {
        bench.trim(newest(left), nothing()).await;
    }
    assert_eq!(bench.gaps("g").await, [(1, 5)]);
    assert_eq!(bench.gaps("passed").await, []);
}

#[tokio::test]
async fn where_events_are_kept_for_delivery_any_trim_lets_go_of_what_is_delivered() {
    let bench = Bench::keeping(RetentionMode::UntilDelivered);
    assert_eq!(bench.store.info().await.unwrap().keeps, RetentionMode::UntilDelivered);
    bench.append(6).await;
    let none = RetentionRule::default;
    bench.group("g", 1).await;
    bench.clock.advance(RetentionMode::DEDUP_WINDOW);
    assert_eq!(bench.trim(none(), GroupHolds::default()).await, 0, "an id is known for the whole window");
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.trim(none(), GroupHolds::default()).await, 0, "the group has nothing yet");
    let lease = bench.leases("g").await.remove(0);
    bench.commit(SegmentCommit::new(lease, 4, 6)).await;
    assert_eq!(bench.trim(none(), GroupHolds::default()).await, 4);
    assert_eq!(bench.gaps("g").await, []);
    bench.clock.advance(8 * DAY);
    assert_eq!(bench.trim(none(), GroupHolds::default()).await, 2, "a forgotten group holds nothing");
    assert_eq!(bench.gaps("g").await, [(5, 6)]);
    let history = Bench::new();
    history.append(6).await;
    history.clock.advance(8 * DAY);
    assert_eq!(history.trim(none(), GroupHolds::default()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn appending_due_events_wakes_callers_that_wait_for_the_head() {
    let bench = Bench::new();
    let start = bench.store.head().await.unwrap();
    bench.store.schedule(&Draft::new("e").event(), bench.clock.now()).await.unwrap();
    let waiting = tokio::spawn({
        let store = bench.store.clone();
        async move { store.changed(&start, Duration::from_secs(3600)).await.unwrap() }
    });
    tokio::task::yield_now().await;
    let before = tokio::time::Instant::now();
    assert_eq!(bench.store.append_due(10).await.unwrap().len(), 1);
    assert_eq!(waiting.await.unwrap().sequence(0), 1);
    assert_eq!(tokio::time::Instant::now(), before, "no call waited for the timeout");
}
