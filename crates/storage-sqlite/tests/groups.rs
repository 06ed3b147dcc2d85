//! Guarantees of this adapter for groups, dead letters and the schedule: after a restore, in the file, and in a
//! namespace that indexes only ids.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use domain::{
    Document, Entity, Event, Filter, Limits, Position, TypePattern,
    dead_letter::{Failure, NewDeadLetter},
    group::{BlockedKey, Gap, GroupSpec, Key, Lease},
    ports::{
        AppendOutcome, CommitOutcome, DeadLetterQuery, DeadLetterStore, EventStore, GroupHolds, GroupStore,
        LeaseRequest, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate, RetentionMode,
        ScheduleOutcome, ScheduleStore, SegmentCommit, StatSample, StatsStore, TrimRequest,
        engine::SpaceKind,
    },
    retention::RetentionRule,
};
use event_replay_storage_sqlite::SqliteOptions;
use jiff::Timestamp;
use rusqlite::Connection;
use support::{SqliteStore, append, event, many, read_all, store};

const HOUR: Duration = Duration::from_secs(3600);

fn request(consumer: &str, token: u64) -> LeaseRequest {
    LeaseRequest { group: "g".to_owned(), consumer: consumer.to_owned(), token, duration: HOUR }
}

async fn make_group(store: &SqliteStore, segments: u16) {
    let start = domain::Cursor { sequences: vec![0], ..store.head().await.unwrap() };
    store.create_group(&GroupSpec { segments, ..GroupSpec::new("g") }, &start).await.unwrap();
}

/// Returns the lease of the group's only segment.
async fn only(store: &SqliteStore, token: u64) -> Lease {
    let held = store.lease(&request("c", token)).await.unwrap().held;
    let [lease] = &held[..] else { panic!("one segment: {held:?}") };
    lease.clone()
}

fn given_up(sequence: u64) -> NewDeadLetter {
    NewDeadLetter {
        position: Position::new(0, sequence),
        attempts: 4,
        failure: Failure { at: Timestamp::UNIX_EPOCH, errors: vec!["no".to_owned()] },
        fingerprint: "f".to_owned(),
        earlier: Vec::new(),
        replay_id: None,
        parked: false,
    }
}

/// Records dead letters for events of the group's only segment.
async fn give_up(store: &SqliteStore, sequences: impl IntoIterator<Item = u64>) {
    let dead_letters = sequences.into_iter().map(given_up).collect();
    let lease = only(store, 1).await;
    let commit = SegmentCommit { dead_letters, ..SegmentCommit::new(lease, 1, 1) };
    assert_eq!(store.commit(&[commit]).await.unwrap(), [CommitOutcome::Committed]);
}

async fn letters(store: &SqliteStore) -> Vec<String> {
    let query = DeadLetterQuery { limit: 1000, ..DeadLetterQuery::default() };
    let letters = store.dead_letters(&query).await.unwrap();
    letters.iter().map(|letter| letter.event.id().to_owned()).collect()
}

fn execute(path: &Path, sql: &str) -> usize {
    Connection::open(path).unwrap().execute(sql, []).unwrap()
}

fn has(path: &Path, word: &str) -> bool {
    [path.to_owned(), path.with_extension("db-wal")].iter().any(|file| {
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(word.len()).any(|window| window == word.as_bytes())
    })
}

#[tokio::test]
async fn a_restored_store_fences_every_lease_that_was_given_before() {
    let folder = tempfile::tempdir().unwrap();
    let original = store(&folder).await;
    append(&original, &many(5)).await;
    make_group(&original, 1).await;
    let before = only(&original, 1).await;
    let record = ReplayRecord {
        id: "r".to_owned(),
        state: ReplayState::Planned,
        created_at: Timestamp::UNIX_EPOCH,
        updated_at: Timestamp::UNIX_EPOCH,
        plan: String::new(),
        progress: String::new(),
        steering: None,
        hold: None,
    };
    original.create_replay(&record).await.unwrap();
    let runner = original.lease_replay("r", 1, HOUR).await.unwrap().unwrap();
    let backup = folder.path().join("backup.db");
    original.backup_to(&backup).await.unwrap();
    original.close().await;
    SqliteStore::restore(SqliteOptions::new(folder.path().join("events.db")), &backup, true).await.unwrap();

    let restored = store(&folder).await;
    let late = SegmentCommit::new(before.clone(), 5, 5);
    assert_eq!(restored.commit(std::slice::from_ref(&late)).await.unwrap(), [CommitOutcome::Fenced]);
    let state = ReplayState::Running;
    let update = ReplayUpdate { state, progress: String::new(), hold: None, settled_batches: 0 };
    assert_eq!(restored.update_replay(&runner, &update).await, Err(ReplayStoreError::Fenced));
    // After the restore, no consumer waits for the end of old leases, even under another name.
    let taken = restored.lease(&request("other", 2)).await.unwrap().taken;
    assert_eq!(taken.len(), 1);
    assert!(taken[0].0.epoch > before.epoch, "{taken:?} after {before:?}");
    assert_eq!(restored.commit(&[late]).await.unwrap(), [CommitOutcome::Fenced]);
    let again = restored.lease_replay("r", 2, HOUR).await.unwrap().unwrap();
    assert!(again.epoch > runner.epoch, "{again:?} after {runner:?}");
}

#[tokio::test]
async fn a_lease_of_a_deleted_group_is_none_of_the_group_that_is_made_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    make_group(&store, 1).await;
    let before = only(&store, 1).await;
    assert!(store.delete_group("g").await.unwrap());
    make_group(&store, 1).await;
    let after = only(&store, 1).await;
    assert!(after.epoch > before.epoch, "{after:?} after {before:?}");
    let late = SegmentCommit::new(before, 9, 9);
    assert_eq!(store.commit(&[late]).await.unwrap(), [CommitOutcome::Fenced]);
}

#[tokio::test]
async fn two_handles_on_a_file_share_a_groups_segments() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (store(&folder).await, store(&folder).await);
    make_group(&one, 16).await;
    assert_eq!(one.lease(&request("a", 1)).await.unwrap().held.len(), 16);
    let waiting = other.lease(&request("b", 2)).await.unwrap();
    assert_eq!((waiting.held.len(), waiting.share), (0, 8), "no lease that is good is taken");
    let asked = one.lease(&request("a", 1)).await.unwrap();
    assert_eq!((asked.held.len(), asked.share), (16, 8));
    let given_back: Vec<SegmentCommit> = asked.held[8..]
        .iter()
        .map(|lease| SegmentCommit { release: true, ..SegmentCommit::new(lease.clone(), 3, 3) })
        .collect();
    assert_eq!(one.commit(&given_back).await.unwrap(), vec![CommitOutcome::Committed; 8]);
    let taken = other.lease(&request("b", 2)).await.unwrap().taken;
    assert_eq!(taken.len(), 8);
    assert!(taken.iter().all(|(_, state)| state.cursor == 3), "{taken:?}");
    assert_eq!(one.commit(&given_back).await.unwrap(), vec![CommitOutcome::Fenced; 8]);
}

#[tokio::test]
async fn a_store_of_deliveries_indexes_ids_alone_and_answers_as_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let options =
        SqliteOptions { keeps: RetentionMode::UntilDelivered, tail_events: 1, ..SqliteOptions::new(&path) };
    let store = SqliteStore::create(options).await.unwrap();
    append(&store, &many(100)).await;
    store.close().await;
    let entries: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM posting", [], |row| row.get(0))
        .unwrap();
    assert_eq!(entries, 0);
    // A handle with default options uses the mode of the file.
    let store = SqliteStore::open(SqliteOptions::new(&path)).await.unwrap();
    assert_eq!(store.info().await.unwrap().keeps, RetentionMode::UntilDelivered);
    assert!(matches!(append(&store, &many(1)).await[..], [AppendOutcome::AlreadyStored(_)]));
    let of_user = Arc::new(Filter::of_entity(Entity::new("user", "user-3")));
    assert_eq!(store.count(&of_user, None).await.unwrap(), 14);
    assert_eq!(store.erase(&Entity::new("user", "user-3")).await.unwrap().events, 14);
    assert_eq!(store.count(&of_user, None).await.unwrap(), 0);
    assert_eq!(read_all(&store).await.unwrap().len(), 86);
    assert_eq!(store.verify(None).await.unwrap().findings, []);
}

#[tokio::test]
async fn an_erased_entity_leaves_no_byte_beside_the_log() {
    const CANARY: &str = "canary-91c4";
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    make_group(&store, 1).await;
    append(&store, &[event("e1", CANARY, CANARY), event("e2", "somebody", "")]).await;
    give_up(&store, [1, 2]).await;
    let blocked = BlockedKey {
        key: Key::new("user", CANARY),
        position: 1,
        through: 1,
        claimed_to: 0,
        attempts: 1,
        ends: 2,
        due: None,
        error: String::new(),
        failures: Vec::new(),
        since: Timestamp::UNIX_EPOCH,
    };
    let lease = only(&store, 1).await;
    let commit = SegmentCommit { blocked: vec![blocked], ..SegmentCommit::new(lease, 2, 2) };
    store.commit(&[commit]).await.unwrap();
    let due = Timestamp::now() + HOUR;
    for scheduled in [event("e3", CANARY, CANARY), event("e4", "somebody", "")] {
        assert_eq!(store.schedule(&scheduled, due).await.unwrap(), ScheduleOutcome::Scheduled);
    }
    assert!(has(store.path(), CANARY), "the search must see what is there");
    assert_eq!(store.erase(&Entity::new("user", CANARY)).await.unwrap().events, 2, "e1 counts once");
    assert!(!has(store.path(), CANARY));
    assert_eq!(letters(&store).await, ["e2"]);
    assert_eq!(store.scheduled(10).await.unwrap().len(), 1);
    let again = store.schedule(&event("e3", "u", ""), due).await.unwrap();
    assert_eq!(again, ScheduleOutcome::Erased);
}

#[tokio::test]
async fn what_was_erased_after_a_backup_does_not_come_back_beside_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let original = store(&folder).await;
    make_group(&original, 1).await;
    append(&original, &[event("e1", "gone", ""), event("e2", "somebody", "")]).await;
    give_up(&original, [1, 2]).await;
    let due = Timestamp::now() + HOUR;
    for scheduled in [event("e3", "gone", ""), event("e4", "somebody", "")] {
        original.schedule(&scheduled, due).await.unwrap();
    }
    let backup = folder.path().join("backup.db");
    original.backup_to(&backup).await.unwrap();
    original.erase(&Entity::new("user", "gone")).await.unwrap();
    original.close().await;
    SqliteStore::restore(SqliteOptions::new(folder.path().join("events.db")), &backup, true).await.unwrap();
    let restored = store(&folder).await;
    assert_eq!(read_all(&restored).await.unwrap(), ["e2"]);
    assert_eq!(letters(&restored).await, ["e2"]);
    let waiting = restored.scheduled(10).await.unwrap();
    assert_eq!(waiting.iter().map(|it| it.event.id()).collect::<Vec<_>>(), ["e4"]);
}

#[tokio::test]
async fn verification_finds_every_fault_beside_the_log() {
    let of = |kind: SpaceKind| format!("WHERE space = {}", kind.number());
    let scope = |segment: u16| format!("SET scope = CAST(x'6700' || '{segment:020}' AS BLOB)");
    let bytes = |text: &str| format!("SET value = CAST({text} AS BLOB)");
    for (fault, set, kind) in [
        ("a row of no segment", scope(1), SpaceKind::Blocked),
        ("a row of no group", "SET scope = CAST('h' || substr(scope, 2) AS BLOB)".into(), SpaceKind::Blocked),
        ("a batch of no segment", scope(1), SpaceKind::Lane),
        ("a lane miscounted", "SET value = '7'".into(), SpaceKind::LaneSize),
        ("a segment lost", String::new(), SpaceKind::Segment),
        ("references damaged", "SET value = replace(value, '[', '[[')".into(), SpaceKind::Lane),
        ("a dead letter damaged", bytes("replace(value, 'note', 'nota')"), SpaceKind::DeadLetterEvent),
        (
            "a dead letter in no state",
            "SET value = json_set(value, '$.state', 'lost')".into(),
            SpaceKind::DeadLetter,
        ),
        ("a scheduled event damaged", bytes("value || ' '"), SpaceKind::Scheduled),
        (
            "a group that cannot be read",
            "SET value = json_set(value, '$.spec.key', 'x')".into(),
            SpaceKind::Group,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder).await;
        append(&store, &many(3)).await;
        make_group(&store, 1).await;
        give_up(&store, [1]).await;
        let now = Timestamp::now();
        store.schedule(&event("later", "u", ""), now + HOUR).await.unwrap();
        let query = DeadLetterQuery { limit: 1, ..DeadLetterQuery::default() };
        let id = store.dead_letters(&query).await.unwrap()[0].id.clone();
        store.redrive(&[id]).await.unwrap();
        let blocked = vec![BlockedKey {
            key: Key::new("user", "u"),
            position: 2,
            through: 2,
            claimed_to: 2,
            attempts: 1,
            ends: 2,
            due: Some(now),
            error: String::new(),
            failures: Vec::new(),
            since: now,
        }];
        let lease = only(&store, 1).await;
        store.commit(&[SegmentCommit { blocked, ..SegmentCommit::new(lease, 2, 2) }]).await.unwrap();
        assert_eq!(store.verify(None).await.unwrap().findings, []);
        let change = match set.is_empty() {
            true => format!("DELETE FROM row {}", of(kind)),
            false => format!("UPDATE row {set} {}", of(kind)),
        };
        assert!(execute(store.path(), &change) > 0, "{fault}");
        assert!(store.verify(None).await.unwrap().total_findings > 0, "{fault} was not found");
    }
}

#[tokio::test]
async fn the_gaps_of_a_forgotten_group_stay_few_however_often_is_trimmed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    make_group(&store, 1).await;
    append(&store, &many(4)).await;
    // Two types alternate, from sequence 5 to 304.
    let events = many(304).split_off(4);
    let of_type = |event: &Event, name: &str| {
        let json = event.json().replace("note.made", name);
        Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
    };
    let named = events.iter().zip(["a", "b"].into_iter().cycle());
    append(&store, &named.map(|(event, name)| of_type(event, name)).collect::<Vec<_>>()).await;

    let groups = GroupHolds { forgotten_after: HOUR, max_hold: Some(Duration::ZERO) };
    let trim = async |of: &str, limit| {
        let types = vec![TypePattern::new(of)];
        let rule = RetentionRule { types, max_events: Some(0), ..RetentionRule::default() };
        let request = TrimRequest { rule, holds: Vec::new(), limit, dry_run: false, groups };
        assert_eq!(store.trim(&request).await.unwrap().events, limit as u64);
        store.groups().await.unwrap().remove(0).gaps
    };
    trim("note.made", 2).await;
    let joined = trim("note.made", 2).await;
    assert_eq!(joined, [Gap { partition: 0, from: 1, to: 4, at: joined[0].at }], "nothing parts them");
    let mut gaps = Vec::new();
    for _ in 0..150 {
        gaps = trim("a", 1).await;
    }
    assert_eq!((gaps.len(), gaps[0].from, gaps[99].to), (100, 1, 303));
    assert!(gaps.is_sorted_by(|one, next| one.to < next.from), "{gaps:?}");
}

#[tokio::test]
async fn events_that_become_due_wake_callers_that_wait_for_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let head = store.head().await.unwrap();
    let waiting = tokio::spawn({
        let (store, head) = (store.clone(), head.clone());
        async move { store.changed(&head, HOUR).await.unwrap() }
    });
    store.schedule(&event("e1", "u", ""), Timestamp::now()).await.unwrap();
    let appended = store.append_due(10).await.unwrap();
    assert_eq!(appended, [("e1".to_owned(), AppendOutcome::Stored(Position::new(0, 1)))]);
    assert_eq!(waiting.await.unwrap().sequence(0), 1);
    assert_eq!(store.append_due(10).await.unwrap(), []);
    assert_eq!(store.verify(None).await.unwrap().findings, []);
}

#[tokio::test]
async fn counters_stay_whole_numbers_at_the_highest() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let sample = |minute| StatSample {
        minute,
        name: "handled".to_owned(),
        label: String::new(),
        count: u64::MAX,
        sum: u64::MAX,
    };
    for minute in [5, 6, 6] {
        store.add_stats(&[sample(minute)]).await.unwrap();
    }
    store.fold_stats(7).await.unwrap();
    let highest = i64::MAX as u64;
    assert_eq!(store.stats(None).await.unwrap(), [StatSample { count: highest, sum: highest, ..sample(0) }]);
}
