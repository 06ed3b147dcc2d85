//! States of a store that only consumers and time can create, made through the library's ports.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    Position,
    dead_letter::{Failure, NewDeadLetter, fingerprint},
    group::{BlockedKey, GroupKey, GroupSpec, Key, LaneProgress, Lease, segment_of},
    ports::{EventStore, GroupStore, LeaseRequest, SegmentCommit, StatSample, StatsStore},
};
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;

use super::Bench;

/// The name of the consumer in these states.
pub const CONSUMER: &str = "worker-1";

/// Runs `work` on the store of a bench.
pub fn on_store<T>(bench: &Bench, work: impl AsyncFnOnce(&Store) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = SqliteEngine::open(SqliteOptions::new(bench.path("events.db"))).await.unwrap();
        let done = work(&Store::new(engine.clone())).await;
        engine.close().await;
        done
    })
}

/// Creates a group at the head of the log, or at its start.
pub async fn group(store: &Store, spec: GroupSpec, at_start: bool) {
    let mut mark = store.head().await.unwrap();
    if at_start {
        mark.sequences = vec![0];
    }
    store.create_group(&spec, &mark).await.unwrap();
}

/// Acquires the leases of a consumer, and returns them by segment.
pub async fn leases(store: &Store, group: &str, alive: Duration) -> BTreeMap<u16, Lease> {
    let request =
        LeaseRequest { group: group.to_owned(), consumer: CONSUMER.to_owned(), token: 7, duration: alive };
    let leases = store.lease(&request).await.unwrap();
    leases.held.into_iter().map(|lease| (lease.segment, lease)).collect()
}

/// Gives up on events, each with the error of its handler, and commits the rest of the log.
pub async fn give_up(store: &Store, group: &str, failures: &[(&str, &str)], parked: bool) {
    let leases = leases(store, group, Duration::from_secs(60)).await;
    let head = store.head().await.unwrap().sequence(0);
    let mut commits: BTreeMap<u16, SegmentCommit> = leases
        .iter()
        .map(|(segment, lease)| (*segment, SegmentCommit::new(lease.clone(), head, head)))
        .collect();
    for (id, error) in failures {
        let found = store.get(&[(*id).to_owned()]).await.unwrap();
        let stored = &found[0];
        let key = GroupKey::Event.of(&stored.event);
        let commit = commits.get_mut(&segment_of(&key, 0, 1, leases.len() as u16)).unwrap();
        commit.dead_letters.push(new_letter(stored.position, stored.event.event_type(), error, parked));
        if parked {
            commit.blocked.push(blocked(Key::from(key), stored.position.sequence, head, None, error));
        }
    }
    let commits: Vec<SegmentCommit> = commits.into_values().collect();
    store.commit(&commits).await.unwrap();
}

fn new_letter(position: Position, event_type: &str, error: &str, parked: bool) -> NewDeadLetter {
    NewDeadLetter {
        position,
        attempts: 4,
        failure: Failure {
            at: jiff::Timestamp::now(),
            errors: vec![error.to_owned(), "the cause of it".to_owned()],
        },
        fingerprint: fingerprint(event_type, error),
        earlier: Vec::new(),
        replay_id: None,
        parked,
    }
}

/// Returns a blocked key, as a row of the ledger.
pub fn blocked(key: Key, position: u64, through: u64, due: Option<&str>, error: &str) -> BlockedKey {
    BlockedKey {
        key,
        position,
        through,
        claimed_to: position,
        attempts: 2,
        ends: 2,
        due: due.map(|due| due.parse().unwrap()),
        error: error.to_owned(),
        failures: Vec::new(),
        since: jiff::Timestamp::now(),
    }
}

/// Handles all events in the replay lanes as a consumer would. If `fails` returns an error for a position, the group
/// gives up on that event again.
pub async fn answer_lanes(store: &Store, group: &str, fails: impl Fn(u64) -> Option<String>) -> usize {
    let leases = leases(store, group, Duration::from_secs(60)).await;
    let after: Vec<(u16, u64)> = leases.keys().map(|segment| (*segment, 0)).collect();
    let batches = store.lane(group, &after, 10_000).await.unwrap();
    let cursor = store.group(group).await.unwrap().unwrap().cursor(0).unwrap();
    for batch in &batches {
        let mut commit = SegmentCommit::new(leases[&batch.segment].clone(), cursor, cursor);
        let mut progress =
            LaneProgress { claimed_to: batch.positions.len() as u32, ..LaneProgress::default() };
        for (index, position) in batch.positions.iter().enumerate() {
            progress.done.insert(index as u32);
            match fails(*position) {
                None => {
                    if let domain::group::LaneOrigin::Redrive { dead_letter } = &batch.origin {
                        commit.handled_dead_letters.push(dead_letter.clone());
                    }
                }
                Some(error) => {
                    let position = Position::new(0, *position);
                    commit.dead_letters.push(new_letter(position, "user.registered", &error, false));
                }
            }
        }
        commit.lane_done.push((batch.seq, progress));
        store.commit(&[commit]).await.unwrap();
    }
    batches.len()
}

/// Stores counters for the current minute.
pub async fn count(store: &Store, samples: &[(&str, &str, u64, u64)]) {
    let minute = jiff::Timestamp::now().as_second().div_euclid(60);
    let samples: Vec<StatSample> = samples
        .iter()
        .map(|&(name, label, count, sum)| StatSample {
            minute,
            name: name.to_owned(),
            label: label.to_owned(),
            count,
            sum,
        })
        .collect();
    store.add_stats(&samples).await.unwrap();
}
