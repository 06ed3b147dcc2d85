//! Several partitions in situations that only a real server has: lost and leftover parts, different log epochs, and
//! trims beside callers that start to hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use conformance::{Draft, ManualClock, walk};
use domain::{
    Checkpoint, Cursor, Filter, Position, RetentionRule,
    group::{GroupSpec, LaneOrigin, NewLaneBatch},
    ports::{
        Atomicity, CheckpointStore, Clock as _, CommitOutcome, EnqueueOutcome, EventStore, EventStoreError,
        GroupHolds, GroupStore, GroupStoreError, LeaseRequest, Order, ReplayRecord, ReplayState, ReplayStore,
        RetentionMode, SegmentCommit, TrimRequest,
    },
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use harness::{Namespace, RedisHarness};
use servers::{Aof, Binary, Config, Server};
use store::Store;

const PARTITIONS: u16 = 4;

async fn namespace() -> Namespace {
    RedisHarness::of(PARTITIONS).await.namespace(ManualClock::default(), RetentionMode::History)
}

async fn fill(store: &Store, prefix: &str, count: usize) -> Vec<Position> {
    let mut positions = Vec::new();
    for batch in Draft::many(prefix, count).chunks(100) {
        for outcome in store.append(batch, Atomicity::Each).await.unwrap() {
            let domain::ports::AppendOutcome::Stored(at) = outcome else { panic!("{outcome:?}") };
            positions.push(at);
        }
    }
    positions
}

fn spec() -> GroupSpec {
    GroupSpec { segments: 2 * PARTITIONS, ..GroupSpec::new("g") }
}

fn request(consumer: &str) -> LeaseRequest {
    let (group, consumer) = ("g".to_owned(), consumer.to_owned());
    LeaseRequest { group, consumer, token: 7, duration: Duration::from_secs(600) }
}

/// Returns the cursors of a group's segments, by partition.
async fn cursors(store: &Store) -> BTreeMap<u16, BTreeSet<u64>> {
    let status = store.group("g").await.unwrap().unwrap();
    let mut cursors: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
    for segment in status.segments {
        cursors.entry(segment.partition).or_default().insert(segment.cursor);
    }
    cursors
}

fn all_at(cursor: &Cursor) -> BTreeMap<u16, BTreeSet<u64>> {
    (0..PARTITIONS).map(|partition| (partition, BTreeSet::from([cursor.sequence(partition)]))).collect()
}

/// Removes the group's part in partition 0, and returns its record.
async fn forget_in_first(namespace: &Namespace) -> String {
    let groups = namespace.key_in(0, "r:group");
    let record: String = namespace.say(&["HGET", &groups, G]).await;
    forget_in(namespace, 0).await;
    record
}

/// The row key of the group's name. A text in a key ends with a zero byte.
const G: &str = "g\0";

/// Removes the group's part in a partition, except rows of single segments.
async fn forget_in(namespace: &Namespace, partition: u16) {
    for kind in ["group", "incarnation", "group-seen"] {
        let _: i64 = namespace.say(&["HDEL", &namespace.key_in(partition, &format!("r:{kind}")), G]).await;
    }
    for kind in ["segment", "fence", "lease", "consumer"] {
        let _: i64 = namespace.say(&["DEL", &namespace.key_in(partition, &format!("r:{kind}:ZwA"))]).await;
    }
}

/// A group with an interrupted creation is finished by the next caller as it was begun, for any start that the
/// caller names.
#[tokio::test]
async fn a_group_that_was_begun_is_finished_as_it_was_begun() {
    let namespace = namespace().await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    fill(&store, "e", 60).await;
    let head = store.head().await.unwrap();
    let early = Cursor { sequences: vec![1, 2, 3, 4], ..head.clone() };
    for missing in 0..PARTITIONS {
        store.create_group(&spec(), &early).await.unwrap();
        let record = forget_in_first(&namespace).await;
        let _: i64 = namespace.say(&["HSET", &namespace.key_in(0, "r:group-draft"), G, &record]).await;
        // Partitions are made from the last to the first, so the earlier ones do not exist yet.
        for partition in 1..missing {
            forget_in(&namespace, partition).await;
        }
        assert_eq!(store.groups().await.unwrap(), [], "it is not there before all of it is");
        assert_eq!(store.lease(&request("c")).await, Err(GroupStoreError::NoGroup("g".to_owned())));
        let found = Store::new(RedisEngine::open(namespace.options()).await.unwrap());
        found.create_group(&spec(), &head).await.unwrap();
        assert_eq!(cursors(&store).await, all_at(&early), "{missing}");
        let leases = store.lease(&request("c")).await.unwrap();
        assert_eq!(leases.taken.len(), usize::from(2 * PARTITIONS));
        assert!(store.delete_group("g").await.unwrap());
        let notes: i64 = namespace.say(&["HLEN", &namespace.key_in(0, "r:group-draft")]).await;
        assert_eq!(notes, 0);
    }
}

/// The remains of a deleted group are no part of a new group with its name.
#[tokio::test]
async fn what_is_left_of_a_deleted_group_is_no_part_of_a_new_one() {
    let namespace = namespace().await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    fill(&store, "e", 60).await;
    let head = store.head().await.unwrap();
    let start = Cursor { sequences: vec![0; 4], ..head.clone() };
    store.create_group(&spec(), &head).await.unwrap();
    let old = store.lease(&request("c")).await.unwrap().held;
    // An interrupted deletion: partitions are deleted from the first to the last.
    forget_in_first(&namespace).await;
    assert_eq!(store.group("g").await.unwrap(), None);
    store.create_group(&spec(), &start).await.unwrap();
    assert_eq!(cursors(&store).await, all_at(&start));
    let fenced: Vec<SegmentCommit> = old.into_iter().map(|lease| SegmentCommit::new(lease, 9, 9)).collect();
    let outcomes = store.commit(&fenced).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == CommitOutcome::Fenced), "{outcomes:?}");
    assert_eq!(cursors(&store).await, all_at(&start));
    // A deletion of a group that no longer exists removes its remains.
    forget_in_first(&namespace).await;
    assert!(!store.delete_group("g").await.unwrap());
    for partition in 1..PARTITIONS {
        let left: i64 = namespace.say(&["HLEN", &namespace.key_in(partition, "r:group")]).await;
        assert_eq!(left, 0);
    }
}

/// A partition that has lost its part of a group gets the part again, at the start or at the last reset of the group.
/// The other parts stay unchanged.
#[tokio::test]
async fn a_part_of_a_group_that_was_lost_is_made_again() {
    let namespace = namespace().await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    fill(&store, "e", 60).await;
    let head = store.head().await.unwrap();
    let begin = Cursor { sequences: vec![1, 2, 3, 4], ..head.clone() };
    store.create_group(&spec(), &head).await.unwrap();
    store.reset_group("g", &begin).await.unwrap();
    let held = store.lease(&request("c")).await.unwrap().held;
    let passed: Vec<SegmentCommit> =
        held.iter().map(|lease| SegmentCommit::new(lease.clone(), 5, 5)).collect();
    store.commit(&passed).await.unwrap();
    let lose = async || forget_in(&namespace, 2).await;
    let mut expected: BTreeMap<u16, BTreeSet<u64>> =
        (0..PARTITIONS).map(|partition| (partition, BTreeSet::from([5]))).collect();
    expected.insert(2, BTreeSet::from([3]));
    lose().await;
    let leases = store.lease(&request("c")).await.unwrap();
    assert_eq!((leases.held.len(), leases.taken.len()), (8, 2));
    assert!(leases.taken.iter().all(|(_, state)| (state.partition, state.cursor) == (2, 3)), "{leases:?}");
    assert_eq!(cursors(&store).await, expected);
    lose().await;
    store.create_group(&spec(), &head).await.unwrap();
    assert_eq!(cursors(&store).await, expected);
}

/// Makes the server of a partition appear to be another one, like one of several masters after a restart.
async fn seem_restarted(namespace: &Namespace, partition: u16) {
    let meta = namespace.key_in(partition, "meta");
    let _: i64 = namespace.say(&["HSET", &meta, "run", "another"]).await;
}

/// A new log epoch of one partition is a new epoch of the whole log. Earlier cursors stay valid if the events that
/// they mark are kept. Only the leases on that partition's segments end.
#[tokio::test]
async fn a_partition_begins_an_epoch_by_itself() {
    let namespace = namespace().await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    let first = fill(&store, "e", 40).await;
    let before = store.head().await.unwrap();
    store.create_group(&spec(), &before).await.unwrap();
    let held = store.lease(&request("c")).await.unwrap().held;
    seem_restarted(&namespace, 1).await;
    let second = fill(&store, "f", 40).await;
    let after = store.head().await.unwrap();
    assert_eq!((before.epoch, after.epoch), (1, 2));
    for partition in 0..PARTITIONS {
        let begun = after.sequence(partition) >= 1 << 32;
        assert_eq!(begun, partition == 1, "{after:?}");
    }
    let commits: Vec<SegmentCommit> =
        held.iter().map(|lease| SegmentCommit::new(lease.clone(), 3, 3)).collect();
    for (commit, outcome) in commits.iter().zip(store.commit(&commits).await.unwrap()) {
        let fenced = commit.lease.segment % PARTITIONS == 1;
        assert_eq!(outcome == CommitOutcome::Fenced, fenced, "{commit:?}");
    }
    let taken = store.lease(&request("c")).await.unwrap().taken;
    assert!(taken.len() == 2 && taken.iter().all(|(_, state)| state.partition == 1), "{taken:?}");

    // From another handle, without earlier knowledge.
    let store = Store::new(RedisEngine::open(namespace.options()).await.unwrap());
    let all: BTreeSet<Position> = first.iter().chain(&second).copied().collect();
    let read = walk(&store, &Arc::default(), Order::OldestFirst, 7, None).await;
    assert_eq!(read.iter().map(|stored| stored.position).collect::<BTreeSet<_>>(), all);
    let mut request = domain::ports::ReadRequest::new(Filter::default(), 1_000);
    request.after = Some(before.clone());
    let page = store.read(&request).await.unwrap();
    let read: BTreeSet<Position> = page.events.iter().map(|stored| stored.position).collect();
    assert_eq!(read, second.into_iter().collect(), "what was there before is not read again");
    // Positions that the old server gave behind the remaining end are lost.
    let mut lost = before.clone();
    lost.sequences[1] += 1;
    let refused = store.changed(&lost, std::time::Duration::ZERO).await.unwrap_err();
    assert!(
        matches!(&refused, EventStoreError::LostCursor(text) if text.contains("log epoch 1")),
        "{refused}"
    );
    // A reader that has reached this place reads on and skips nothing.
    request.after = Some(lost.clone());
    assert_eq!(store.read(&request).await.unwrap().events.len(), 40);
    // This also holds if a partition without further events for the reader has begun a new epoch.
    seem_restarted(&namespace, 2).await;
    fill(&store, "g", 40).await;
    let end = store.head().await.unwrap();
    let mut after_lost = end.clone();
    after_lost.sequences[1] = lost.sequences[1];
    let fresh = Store::new(RedisEngine::open(namespace.options()).await.unwrap());
    let behind = domain::ports::ReadRequest {
        after: Some(after_lost),
        until: Some(end.clone()),
        ..domain::ports::ReadRequest::new(Filter::default(), 1_000)
    };
    let read = fresh.read(&behind).await.unwrap().events;
    assert!(!read.is_empty() && read.iter().all(|stored| stored.position.partition == 1), "{read:?}");
    let mut unknown = after.clone();
    unknown.epoch = end.epoch + 1;
    request.after = Some(unknown);
    assert_eq!(store.read(&request).await.unwrap_err().kind(), "lost-cursor");
}

/// A partition of a restarted master may have lost part of a replay's lanes, and the runner has to send it again. The
/// partition and the lease both tell the runner so.
#[tokio::test]
async fn a_runner_learns_that_one_partition_may_have_lost_something() {
    let namespace = namespace().await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    fill(&store, "e", 40).await;
    store.create_group(&spec(), &store.head().await.unwrap()).await.unwrap();
    let now = namespace.clock.now();
    let record = ReplayRecord {
        id: "r".to_owned(),
        state: ReplayState::Planned,
        created_at: now,
        updated_at: now,
        plan: String::new(),
        progress: String::new(),
        steering: None,
        hold: None,
    };
    store.create_replay(&record).await.unwrap();
    let hour = Duration::from_secs(3600);
    let lease = store.lease_replay("r", 7, hour).await.unwrap().unwrap();
    let to = |segment: u16, batch: u64| NewLaneBatch {
        group: "g".to_owned(),
        segment,
        origin: LaneOrigin::Replay { replay_id: "r".to_owned(), batch },
        positions: vec![1],
    };
    for segment in 0..PARTITIONS {
        let queued = store.enqueue(Some(&lease), &[to(segment, 0)]).await.unwrap();
        assert_eq!(queued, [EnqueueOutcome::Queued]);
    }
    seem_restarted(&namespace, 2).await;
    let refused = store.enqueue(Some(&lease), &[to(2, 1)]).await;
    assert_eq!(refused, Err(GroupStoreError::RunnerFenced));
    let renewed = store.lease_replay("r", 7, hour).await.unwrap().unwrap();
    assert!(
        renewed.epoch > lease.epoch,
        "not the same: whoever had it begins anew: {renewed:?} after {lease:?}"
    );
    for segment in 0..PARTITIONS {
        let refused = store.enqueue(Some(&lease), &[to(segment, 1)]).await;
        assert_eq!(refused, Err(GroupStoreError::RunnerFenced));
        let queued = store.enqueue(Some(&renewed), &[to(segment, 1)]).await.unwrap();
        assert_eq!(queued, [EnqueueOutcome::Queued]);
    }
    assert_eq!(store.lease_replay("r", 7, hour).await.unwrap(), Some(renewed));
}

/// A server is killed and restarted. All events are there, every partition begins an epoch at its first write, and no
/// position is given twice.
#[tokio::test]
async fn a_killed_server_comes_back_with_every_partition() {
    let config = Config { aof: Aof::Always, ..Config::default() };
    let mut server = Server::start(&Binary::default(), &config).await.unwrap();
    let options = RedisOptions { partitions: Some(PARTITIONS), ..RedisOptions::new(server.url()) };
    let store = Store::new(RedisEngine::create(options).await.unwrap());
    let mut positions = fill(&store, "a", 60).await;
    let before = store.head().await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let mut tries = 0;
    while store.head().await.is_err() {
        tries += 1;
        assert!(tries < 200, "the server did not come back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.head().await.unwrap(), before, "reading begins nothing");
    positions.extend(fill(&store, "b", 60).await);
    let after = store.head().await.unwrap();
    assert_eq!(after.epoch, 1 + u64::from(PARTITIONS));
    assert_eq!(positions.iter().collect::<BTreeSet<_>>().len(), 120);
    let read = walk(&store, &Arc::default(), Order::NewestFirst, 9, None).await;
    assert_eq!(read.len(), 120);
    let report = store.verify(None).await.unwrap();
    assert_eq!(report.total_findings, 0, "{report:?}");
}

/// Trims run while checkpoints are saved. Events that are behind a checkpoint when it is saved stay.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_saved_checkpoint_holds_survives_concurrent_trims() {
    let namespace = namespace().await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    let everything = |head: Cursor| TrimRequest {
        rule: RetentionRule { through: Some(head), ..RetentionRule::default() },
        holds: Vec::new(),
        limit: 3,
        dry_run: false,
        groups: GroupHolds::default(),
    };
    for round in 0..30 {
        fill(&store, &format!("r{round}"), 60).await;
        let head = store.head().await.unwrap();
        let mut trims = tokio::task::JoinSet::new();
        for _ in 0..2 {
            let trimmer = Store::new(RedisEngine::open(namespace.options()).await.unwrap());
            let request = everything(head.clone());
            trims.spawn(async move { while trimmer.trim(&request).await.unwrap().more {} });
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..15))).await;
        let checkpoint = Checkpoint {
            id: format!("id {round}"),
            name: "here".to_owned(),
            mark: Cursor { sequences: vec![0; usize::from(PARTITIONS)], ..head },
            last_processed_event_id: String::new(),
            event_count: 0,
            metadata: serde_json::Map::new(),
            created_at: namespace.clock.now(),
            hold: true,
        };
        store.save_checkpoint(checkpoint, false).await.unwrap();
        let held = walk(&store, &Arc::default(), Order::OldestFirst, 100, None).await;
        trims.join_all().await;
        let left = walk(&store, &Arc::default(), Order::OldestFirst, 100, None).await;
        assert_eq!(left.len(), held.len(), "in round {round}");
        store.delete_checkpoint("here").await.unwrap();
    }
}
