//! Groups in situations that only a real server has: a restart, and full memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::time::Duration;

use conformance::Draft;
use domain::{
    Event, StorageFailure,
    group::{GroupSpec, LaneOrigin, Lease, NewLaneBatch},
    ports::{
        Atomicity, CommitOutcome, EnqueueOutcome, EventStore, EventStoreError, GroupStore, GroupStoreError,
        LeaseRequest, Leases, ReplayRecord, ReplayState, ReplayStore, SegmentCommit,
    },
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use servers::{Aof, Binary, Config, MaxMemory, Server};
use store::Store;

async fn server(config: Config) -> Server {
    Server::start(&Binary::default(), &config).await.unwrap()
}

async fn store(server: &Server) -> Store {
    Store::new(RedisEngine::create(RedisOptions::new(server.url())).await.unwrap())
}

fn request(consumer: &str) -> LeaseRequest {
    let (group, consumer) = ("g".to_owned(), consumer.to_owned());
    LeaseRequest { group, consumer, token: u64::MAX, duration: Duration::from_secs(600) }
}

/// Returns the leases of a consumer, once the server answers again.
async fn leases(store: &Store, consumer: &str) -> Leases {
    for _ in 0..200 {
        match store.lease(&request(consumer)).await {
            Ok(leases) => return leases,
            Err(GroupStoreError::Storage(StorageFailure::Unavailable(_) | StorageFailure::Unknown(_))) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the server did not come back");
}

async fn commit(store: &Store, lease: &Lease, cursor: u64) -> CommitOutcome {
    store.commit(&[SegmentCommit::new(lease.clone(), cursor, cursor)]).await.unwrap().remove(0)
}

async fn with_group(store: &Store, segments: u16) {
    store.append(&Draft::many("e", 5), Atomicity::Each).await.unwrap();
    let spec = GroupSpec { segments, ..GroupSpec::new("g") };
    let head = store.head().await.unwrap();
    let start = domain::Cursor { sequences: vec![0], ..head };
    store.create_group(&spec, &start).await.unwrap();
}

/// A restarted server may have lost writes. The owner of a lease learns this from its first commit. It gets a new
/// lease with a higher fencing token and the state of the segment. No other consumer waits for the end of the old
/// lease.
#[tokio::test]
async fn a_lease_ends_with_the_server_that_gave_it() {
    let mut server = server(Config { aof: Aof::Always, ..Config::default() }).await;
    let store = store(&server).await;
    with_group(&store, 2).await;
    let before = leases(&store, "c").await.held;
    assert_eq!(commit(&store, &before[0], 3).await, CommitOutcome::Committed);
    for round in 0..2 {
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        let after = leases(&store, if round == 0 { "c" } else { "d" }).await;
        // The leases of both consumers of the second round are valid, so each has one segment.
        assert_eq!(after.taken.len(), 2 - round, "{after:?}");
        for old in &before {
            assert_eq!(commit(&store, old, 5).await, CommitOutcome::Fenced);
        }
        for (lease, state) in &after.taken {
            let old = before.iter().find(|old| old.segment == lease.segment).unwrap();
            assert!(lease.epoch > old.epoch, "{lease:?} after {old:?}");
            assert_eq!(state.cursor, if lease.segment == before[0].segment { 3 } else { 0 });
            assert_eq!(commit(&store, lease, state.cursor).await, CommitOutcome::Committed);
        }
        let status = store.group("g").await.unwrap().unwrap();
        let held = status.segments.iter().filter(|segment| segment.consumer.is_some()).count();
        assert_eq!(held, after.held.len(), "{status:?}");
    }
}

/// On a full server consumers continue, so that their handled events can be trimmed.
#[tokio::test]
async fn consumers_go_on_where_the_server_is_full() {
    let max_memory = Some(MaxMemory { bytes: 8 << 20, policy: "noeviction".to_owned() });
    let server = server(Config { max_memory, ..Config::default() }).await;
    let store = store(&server).await;
    with_group(&store, 16).await;
    let held = leases(&store, "c").await.held;
    let mut n = 0;
    loop {
        let big = "x".repeat(50_000);
        let events: Vec<Event> =
            (n..n + 10).map(|n| Draft::new(&format!("big-{n}")).with("text", big.clone()).event()).collect();
        n += 10;
        match store.append(&events, Atomicity::Each).await {
            Ok(_) => assert!(n < 10_000, "it is never full"),
            Err(EventStoreError::Storage(StorageFailure::Full(_))) => break,
            Err(other) => panic!("{other}"),
        }
    }
    let commits: Vec<SegmentCommit> =
        held.iter().map(|lease| SegmentCommit::new(lease.clone(), 5, 5)).collect();
    assert_eq!(store.commit(&commits).await.unwrap(), vec![CommitOutcome::Committed; 16]);
    assert_eq!(leases(&store, "c").await.held, held);
    let status = store.group("g").await.unwrap().unwrap();
    assert!(status.segments.iter().all(|segment| segment.cursor == 5), "{status:?}");
}

/// A namespace keeps nothing of a replay but its record, its lanes and its results. A deleted replay also removes the
/// list of batches that lanes have received.
#[tokio::test]
async fn a_batch_of_a_replay_that_is_gone_may_come_again() {
    let server = server(Config::default()).await;
    let store = store(&server).await;
    with_group(&store, 1).await;
    let now = jiff::Timestamp::now();
    let record = ReplayRecord {
        id: "r".to_owned(),
        state: ReplayState::Completed,
        created_at: now,
        updated_at: now,
        plan: String::new(),
        progress: String::new(),
        steering: None,
        hold: None,
    };
    let origin = LaneOrigin::Replay { replay_id: "r".to_owned(), batch: 0 };
    let batch = NewLaneBatch { group: "g".to_owned(), segment: 0, origin, positions: vec![1] };
    for _ in 0..2 {
        store.create_replay(&record).await.unwrap();
        assert_eq!(
            store.enqueue(None, std::slice::from_ref(&batch)).await.unwrap(),
            [EnqueueOutcome::Queued]
        );
        assert!(store.delete_replay("r").await.unwrap());
    }
}
