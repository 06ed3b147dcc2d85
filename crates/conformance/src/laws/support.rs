//! Helpers for the laws of groups: groups, leases, commits, ledger rows, lanes and dead letters.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{
    Cursor, Event, Position, StoredEvent,
    dead_letter::{DeadLetter, Failure, NewDeadLetter},
    group::{
        BlockedKey, GroupRecord, GroupSpec, GroupStatus, Key, LaneBatch, LaneOrigin, LaneProgress, Lease,
        NewLaneBatch, SegmentState,
    },
    ports::{
        Clock as _, CommitOutcome, DeadLetterQuery, EnqueueOutcome, GroupHolds, LeaseRequest, Leases,
        ReplayLease, ReplayRecord, ReplayState, SegmentCommit, TrimRequest,
    },
    retention::RetentionRule,
};

use crate::{Bench, Draft};

/// Returns whether positions rise within each partition.
pub(super) fn rise(positions: &[Position]) -> bool {
    let mut newest: BTreeMap<u16, u64> = BTreeMap::new();
    positions.iter().all(|at| newest.insert(at.partition, at.sequence).is_none_or(|last| last < at.sequence))
}

/// Groups ids by partition, in log order. Only events of one partition have a defined order.
pub(super) fn by_partition(events: &[StoredEvent]) -> BTreeMap<u16, Vec<String>> {
    let mut ids: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for stored in events {
        ids.entry(stored.position.partition).or_default().push(stored.event.id().to_owned());
    }
    ids
}

/// Panics unless the log has exactly these events, in this order within each partition.
pub(super) fn in_order(events: &[StoredEvent], expected: &[String]) {
    assert_eq!(events.len(), expected.len(), "{events:?}");
    for (partition, ids) in by_partition(events) {
        let own: Vec<&String> = expected.iter().filter(|id| ids.contains(id)).collect();
        assert_eq!(Vec::from_iter(&ids), own, "in partition {partition}");
    }
}

/// Default duration of leases in laws.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// A time longer than any lease.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// Returns a group with this number of segments that takes all events.
pub(super) fn spec(name: &str, segments: u16) -> GroupSpec {
    GroupSpec { segments, ..GroupSpec::new(name) }
}

/// Returns a token for a name. Its value uses all 64 bits, as random tokens do.
pub(super) fn token(name: &str) -> u64 {
    name.bytes().fold(u64::MAX, |sum, byte| sum.rotate_left(9) ^ u64::from(byte))
}

/// Returns a consumer's request for leases, with the token of its name.
pub(super) fn request(group: &str, consumer: &str) -> LeaseRequest {
    LeaseRequest {
        group: group.to_owned(),
        consumer: consumer.to_owned(),
        token: token(consumer),
        duration: LEASE,
    }
}

/// Returns a ledger row with an event that waits for a retry.
pub(super) fn row(key: Key, position: u64, bench: &Bench) -> BlockedKey {
    BlockedKey {
        key,
        position,
        through: position,
        claimed_to: position.saturating_sub(1),
        attempts: 1,
        ends: 2,
        due: Some(bench.clock.now() + Duration::from_secs(7)),
        error: "no".to_owned(),
        failures: Vec::new(),
        since: bench.clock.now(),
    }
}

/// Returns a failure with a cause.
pub(super) fn failure(bench: &Bench, message: &str) -> Failure {
    Failure { at: bench.clock.now(), errors: vec![message.to_owned(), "its cause".to_owned()] }
}

/// Returns a new dead letter after three attempts.
pub(super) fn given_up(bench: &Bench, position: Position) -> NewDeadLetter {
    NewDeadLetter {
        position,
        attempts: 3,
        failure: failure(bench, "no"),
        fingerprint: "f".to_owned(),
        earlier: Vec::new(),
        replay_id: None,
        parked: false,
    }
}

/// Returns all values of a dead letter, for comparisons.
pub(super) fn seen(letter: &DeadLetter) -> (String, String) {
    (format!("{letter:?}"), letter.event.json().to_owned())
}

/// Returns a replay's batch of references for a lane.
pub(super) fn batch(group: &str, segment: u16, replay: &str, batch: u64, positions: &[u64]) -> NewLaneBatch {
    let origin = LaneOrigin::Replay { replay_id: replay.to_owned(), batch };
    NewLaneBatch { group: group.to_owned(), segment, origin, positions: positions.to_vec() }
}

/// Returns progress that has claimed this many references and finished these.
pub(super) fn progress(claimed_to: u32, done: &[u32]) -> LaneProgress {
    let mut progress = LaneProgress { claimed_to, ..LaneProgress::default() };
    for index in done {
        progress.done.insert(*index);
    }
    progress
}

/// Returns a segment's state with its ledger sorted by key.
pub(super) fn sorted(mut state: SegmentState) -> SegmentState {
    state.blocked.sort_by(|one, other| one.key.cmp(&other.key));
    state
}

/// Returns a trim request that keeps at most this many events.
pub(super) fn keep_newest(events: u64) -> TrimRequest {
    let rule = RetentionRule { max_events: Some(events), ..RetentionRule::default() };
    TrimRequest { rule, holds: Vec::new(), limit: 1_000, dry_run: false, groups: GroupHolds::default() }
}

/// Returns the record of a new replay.
pub(super) fn planned(bench: &Bench, id: &str) -> ReplayRecord {
    ReplayRecord {
        id: id.to_owned(),
        state: ReplayState::Planned,
        created_at: bench.clock.now(),
        updated_at: bench.clock.now(),
        plan: format!("{{\"plan of\":{id:?}}}"),
        progress: "\u{202e}no JSON'\r\n".to_owned(),
        steering: None,
        hold: None,
    }
}

impl Bench {
    /// Returns the cursor of a sequence.
    pub(super) async fn mark(&self, sequence: u64) -> Cursor {
        Cursor { sequences: vec![sequence], ..self.store.head().await.unwrap() }
    }

    /// Returns the cursor at the start of the log.
    pub(super) async fn start(&self) -> Cursor {
        let head = self.store.head().await.unwrap();
        Cursor { sequences: vec![0; head.sequences.len()], ..head }
    }

    /// Creates a group that begins after a sequence.
    pub(super) async fn make_group(&self, spec: &GroupSpec, after: u64) -> GroupRecord {
        self.store.create_group(spec, &self.mark(after).await).await.unwrap()
    }

    /// Appends `e-0` to `e-(N-1)`, a minute apart.
    pub(super) async fn minutes(&self, count: usize) -> Vec<Position> {
        let mut positions = Vec::new();
        for event in Draft::many("e", count) {
            self.clock.advance(Duration::from_secs(60));
            positions.extend(self.store_all(&[event]).await);
        }
        positions
    }

    /// Requests the leases of a consumer.
    pub(super) async fn lease(&self, group: &str, consumer: &str) -> Leases {
        self.store.lease(&request(group, consumer)).await.unwrap()
    }

    /// Returns the lease of a group's only segment, for a consumer without competitors.
    pub(super) async fn only(&self, group: &str, consumer: &str) -> Lease {
        let leases = self.lease(group, consumer).await;
        let [lease] = &leases.held[..] else { panic!("one segment: {leases:?}") };
        lease.clone()
    }

    /// Commits to one segment.
    pub(super) async fn commit(&self, commit: SegmentCommit) -> CommitOutcome {
        let outcomes = self.store.commit(&[commit]).await.unwrap();
        let [outcome] = &outcomes[..] else { panic!("one commit: {outcomes:?}") };
        outcome.clone()
    }

    /// Commits to one segment and panics unless the commit is stored.
    pub(super) async fn commit_ok(&self, commit: SegmentCommit) {
        assert_eq!(self.commit(commit).await, CommitOutcome::Committed);
    }

    /// Moves every segment of a group to a sequence and leaves the group.
    pub(super) async fn pass(&self, group: &str, through: u64) {
        let leases = self.lease(group, "passer").await;
        let commits: Vec<SegmentCommit> =
            leases.held.into_iter().map(|lease| SegmentCommit::new(lease, through, through)).collect();
        for outcome in self.store.commit(&commits).await.unwrap() {
            assert_eq!(outcome, CommitOutcome::Committed);
        }
        self.store.leave(group, "passer", token("passer")).await.unwrap();
    }

    /// Takes every segment of a group as a consumer of another process, after all leases have expired.
    pub(super) async fn inherit(&self, group: &str) -> BTreeMap<u16, (Lease, SegmentState)> {
        self.clock.advance(LONG);
        let heir = format!("heir of {}", self.clock.now());
        let leases = self.storage.open().await.lease(&request(group, &heir)).await.unwrap();
        let states = leases.taken.into_iter().map(|(lease, state)| (lease.segment, (lease, sorted(state))));
        states.collect()
    }

    /// Returns the state of a group's only segment, taken as by [`Bench::inherit`].
    pub(super) async fn inherit_only(&self, group: &str) -> SegmentState {
        let mut states = self.inherit(group).await;
        assert_eq!(states.len(), 1, "{states:?}");
        states.pop_first().unwrap().1.1
    }

    /// Returns the status of a group, read through another handle.
    pub(super) async fn status(&self, group: &str) -> GroupStatus {
        self.storage.open().await.group(group).await.unwrap().unwrap_or_else(|| panic!("a group {group:?}"))
    }

    /// Returns all batches of a segment's lane, read through another handle.
    pub(super) async fn lane_of(&self, group: &str, segment: u16) -> Vec<LaneBatch> {
        self.storage.open().await.lane(group, &[(segment, 0)], 1_000_000).await.unwrap()
    }

    /// Creates a replay and leases it.
    pub(super) async fn replay(&self, id: &str) -> ReplayLease {
        self.store.create_replay(&planned(self, id)).await.unwrap();
        self.store.lease_replay(id, token(id), LONG).await.unwrap().expect("a lease")
    }

    /// Adds batches to lanes and panics unless all are added.
    pub(super) async fn queue(&self, batches: &[NewLaneBatch]) {
        let outcomes = self.store.enqueue(None, batches).await.unwrap();
        assert_eq!(outcomes, vec![EnqueueOutcome::Queued; batches.len()]);
    }

    /// Returns every dead letter, in the order of the list.
    pub(super) async fn letters(&self) -> Vec<DeadLetter> {
        let query = DeadLetterQuery { limit: 1_000, ..DeadLetterQuery::default() };
        self.storage.open().await.dead_letters(&query).await.unwrap()
    }

    /// Returns the only dead letter.
    pub(super) async fn letter(&self) -> DeadLetter {
        let mut letters = self.letters().await;
        assert_eq!(letters.len(), 1, "{letters:?}");
        letters.remove(0)
    }

    /// Creates a group `g` of one segment, with a dead letter for each event, in order and a second apart.
    pub(super) async fn dead_letters_for(&self, events: &[Event]) -> (Lease, Vec<DeadLetter>) {
        let positions = self.store_all(events).await;
        self.make_group(&spec("g", 1), 0).await;
        let lease = self.only("g", "c").await;
        for position in positions {
            self.clock.advance(Duration::from_secs(1));
            let cursor = position.sequence;
            let dead_letters = vec![given_up(self, position)];
            self.commit_ok(SegmentCommit {
                dead_letters,
                ..SegmentCommit::new(lease.clone(), cursor, cursor)
            })
            .await;
        }
        (lease, self.letters().await)
    }

    /// Opens several handles, as several processes do.
    pub(super) async fn handles(&self, count: usize) -> Vec<Arc<dyn crate::Stores>> {
        let mut handles = Vec::new();
        for _ in 0..count {
            handles.push(self.storage.open().await);
        }
        handles
    }
}
