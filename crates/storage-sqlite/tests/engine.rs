//! The log of the engine: appending, scanning, removing, and the index entries of damaged events.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{sync::Arc, time::Duration};

use domain::{
    Document, Entity, Filter, Limits, Position, StorageFailure, TypePattern,
    ports::{
        AppendOutcome, Atomicity, Order,
        engine::{
            Appended, Entry, EpochEnd, Guard, IdState, Removal, RemovalKind, Removed, RowId, Scan, SpaceKind,
            StorageEngine, Transaction, Write,
            log::{bytes_of, sequence_of},
        },
    },
};
use event_replay_storage_sqlite::{SqliteEngine, SqliteOptions};
use jiff::Timestamp;
use rusqlite::Connection;
use support::{engine, event, many, options, put, scan};

fn at(sequence: u64) -> Position {
    Position::new(0, sequence)
}

fn counter(name: &str) -> RowId {
    RowId::of(SpaceKind::Counter, name)
}

fn sequences(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(sequence_of).collect()
}

async fn all(engine: &SqliteEngine, filter: &Arc<Filter>) -> Vec<Entry> {
    engine.scan(0, &scan(filter)).await.unwrap().entries
}

#[tokio::test]
async fn what_was_appended_is_read_by_other_handles_and_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (engine(&folder).await, engine(&folder).await);
    assert_eq!(put(&one, &many(3)).await, [1, 2, 3].map(|n| AppendOutcome::Stored(at(n))));
    assert_eq!(
        put(&other, &many(4)).await[2..],
        [AppendOutcome::AlreadyStored(at(3)), AppendOutcome::Stored(at(4))]
    );
    let everything = Arc::default();
    let read = all(&one, &everything).await;
    assert_eq!(sequences(&read), [1, 2, 3, 4]);
    assert_eq!(read[3].as_ref().unwrap().event.json(), many(4)[3].json());
    let (before, info) = (one.state(0).await.unwrap(), one.info().clone());
    assert_eq!((before.head, before.epoch, before.generation, before.events), (4, 1, 1, 4));
    assert_eq!(before.bytes, read.iter().map(bytes_of).sum::<u64>());
    one.close().await;
    other.close().await;

    let reopened = engine(&folder).await;
    assert_eq!(*reopened.info(), info);
    assert_eq!(reopened.state(0).await.unwrap().bytes, before.bytes);
    assert_eq!(sequences(&all(&reopened, &everything).await), [1, 2, 3, 4]);
    assert_eq!(reopened.verify(0, &|_| {}).await.unwrap().findings, []);
}

#[tokio::test]
async fn a_batch_is_resolved_against_the_log_and_against_itself() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    put(&engine, &[event("a", "u", "1")]).await;
    let batch = [event("a", "u", "2"), event("a", "u", "1"), event("b", "u", "1"), event("b", "u", "2")];
    let append = async |batch, atomicity| engine.append(0, batch, atomicity, &Transaction::new()).await;
    let conflict = AppendOutcome::Conflict;
    assert_eq!(
        append(&batch, Atomicity::AllOrNothing).await.unwrap(),
        Appended::Done(vec![
            conflict(at(1)),
            AppendOutcome::AlreadyStored(at(1)),
            AppendOutcome::NotStored,
            conflict(at(0))
        ])
    );
    assert_eq!(engine.state(0).await.unwrap().head, 1);
    assert_eq!(
        append(&batch, Atomicity::Each).await.unwrap(),
        Appended::Done(vec![
            conflict(at(1)),
            AppendOutcome::AlreadyStored(at(1)),
            AppendOutcome::Stored(at(2)),
            conflict(at(2))
        ])
    );
    let again = [event("a", "u", "1"), event("c", "u", "1"), event("c", "u", "1")];
    assert_eq!(
        append(&again, Atomicity::AllOrNothing).await.unwrap(),
        Appended::Done(vec![
            AppendOutcome::AlreadyStored(at(1)),
            AppendOutcome::Stored(at(3)),
            AppendOutcome::AlreadyStored(at(3))
        ])
    );
}

#[tokio::test]
async fn a_transaction_goes_with_an_append_or_keeps_it_from_happening() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    let mut with = Transaction::durable();
    with.guard(Guard::Absent(counter("x"))).guard(Guard::Id("e0".into(), None)).add(counter("x"), 1);
    let append = async |with| engine.append(0, &many(1), Atomicity::Each, with).await.unwrap();
    assert_eq!(append(&with).await, Appended::Done(vec![AppendOutcome::Stored(at(1))]));
    assert_eq!(append(&with).await, Appended::Refused { guard: 0 });
    let refused = engine.append(0, &many(2), Atomicity::Each, &with).await.unwrap();
    assert_eq!(refused, Appended::Refused { guard: 0 });
    assert_eq!(engine.state(0).await.unwrap().head, 1, "nothing was changed");
    let mut again = Transaction::durable();
    again.guard(Guard::Id("e0".into(), Some(IdState::Stored(1)))).add(counter("x"), 1);
    assert_eq!(append(&again).await, Appended::Done(vec![AppendOutcome::AlreadyStored(at(1))]));
    let x = engine.get(0, &[domain::ports::engine::Read::Row(counter("x"))]).await.unwrap().row();
    assert_eq!(x.as_deref(), Some(b"2".as_slice()), "performed also where no event is new");
}

#[tokio::test]
async fn a_scan_keeps_within_its_bounds_in_both_orders() {
    let folder = tempfile::tempdir().unwrap();
    for tail_events in [1, 512] {
        let options = SqliteOptions { tail_events, bulk_tail_events: tail_events, ..options(&folder) };
        let engine = SqliteEngine::create(options).await.unwrap();
        put(&engine, &many(20)).await;
        let everything = Arc::default();
        let of_user = Arc::new(Filter::of_entity(Entity::new("user", "user-3")));
        let base = scan(&everything);
        let bytes = bytes_of(&all(&engine, &everything).await[0]);
        let newest = Order::NewestFirst;
        for (request, expected, next) in [
            (Scan { after: Some(17), ..base.clone() }, vec![18, 19, 20], None),
            (Scan { after: Some(2), limit: 2, ..base.clone() }, vec![3, 4], Some(4)),
            (Scan { after: Some(18), limit: 2, ..base.clone() }, vec![19, 20], None),
            (Scan { until: Some(2), ..base.clone() }, vec![1, 2], None),
            (Scan { until: Some(99), after: Some(19), ..base.clone() }, vec![20], None),
            (Scan { order: newest, after: Some(3), ..base.clone() }, vec![2, 1], None),
            (Scan { order: newest, until: Some(9), limit: 2, ..base.clone() }, vec![9, 8], Some(8)),
            (
                Scan { order: newest, until: Some(9), after: Some(20), limit: 1, ..base.clone() },
                vec![9],
                Some(9),
            ),
            (Scan { order: newest, after: Some(1), ..base.clone() }, vec![], None),
            (Scan { max_bytes: 1, ..base.clone() }, vec![1], Some(1)),
            (Scan { max_bytes: bytes + 1, ..base.clone() }, vec![1, 2], Some(2)),
            (scan(&of_user), vec![4, 11, 18], None),
            (Scan { order: newest, limit: 2, ..scan(&of_user) }, vec![18, 11], Some(11)),
        ] {
            let page = engine.scan(0, &request).await.unwrap();
            assert_eq!((sequences(&page.entries), page.next), (expected, next), "{request:?}");
            assert_eq!(page.state.head, 20);
        }
        assert_eq!(engine.count(0, &of_user, 11).await.unwrap(), 2);
        assert_eq!(engine.count(0, &everything, u64::MAX).await.unwrap(), 20);
        let found = engine.at(0, &[3, 99, 1]).await.unwrap();
        let found: Vec<_> = found.iter().map(|entry| entry.as_ref().map(sequence_of)).collect();
        assert_eq!(found, [Some(3), None, Some(1)]);
    }
}

#[tokio::test]
async fn removing_goes_with_its_transaction_and_counts_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { tail_events: 1, bulk_tail_events: 1, ..options(&folder) };
    let engine = SqliteEngine::create(options).await.unwrap();
    put(&engine, &many(10)).await;
    let everything = Arc::default();
    let entries = all(&engine, &everything).await;
    let mut with = Transaction::durable();
    with.guard(Guard::Absent(counter("removals"))).add(counter("removals"), 1);
    let remove =
        async |entries, kind, with| engine.remove(0, &Removal { entries, kind, with }).await.unwrap();
    let bytes = |entries: &[Entry]| entries.iter().map(bytes_of).sum::<u64>();
    let done = remove(&entries[..3], RemovalKind::Oldest, &with).await;
    assert_eq!(done, Removed::Done { events: 3, bytes: bytes(&entries[..3]) });
    let refused = remove(&entries[3..], RemovalKind::Oldest, &with).await;
    assert_eq!(refused, Removed::Refused { guard: 0 });
    let state = engine.state(0).await.unwrap();
    assert_eq!((state.trimmed_through, state.events, state.bytes), (3, 7, bytes(&entries[3..])));

    let nothing = Transaction::durable();
    let erased = remove(&entries[1..5], RemovalKind::Erase, &nothing).await;
    assert_eq!(erased, Removed::Done { events: 2, bytes: bytes(&entries[3..5]) });
    assert_eq!(engine.state(0).await.unwrap().trimmed_through, 3);
    let ids = ["e0", "e1", "e3", "e5", "unknown"];
    assert_eq!(
        engine.locate(0, &ids).await.unwrap(),
        [None, Some(IdState::Erased), Some(IdState::Erased), Some(IdState::Stored(6)), None]
    );
    assert_eq!(put(&engine, &many(2)).await, [AppendOutcome::Stored(at(11)), AppendOutcome::Erased]);
    assert_eq!(engine.verify(0, &|_| {}).await.unwrap().findings, []);
    let remains = engine.scrub(0, true).await.unwrap();
    assert_eq!(remains, ["backups and exports that were made before"]);
    assert_eq!(engine.scrub(0, false).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn tombstones_and_replay_counts_are_writes_of_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    put(&engine, &many(3)).await;
    let mut transaction = Transaction::new();
    transaction.write(Write::Tombstone("gone".into()));
    let now = Timestamp::UNIX_EPOCH;
    transaction.write(Write::CountReplay { sequences: vec![3, 1, 3, 99], at: now });
    for _ in 0..2 {
        assert!(engine.commit(0, std::slice::from_ref(&transaction)).await.unwrap()[0].is_done());
    }
    assert_eq!(put(&engine, &[event("gone", "u", "")]).await, [AppendOutcome::Erased]);
    let everything = Arc::default();
    let entries = all(&engine, &everything).await;
    let counts: Vec<_> = entries
        .iter()
        .map(|entry| entry.as_ref().map(|stored| (stored.replay_count, stored.last_replay_at)).unwrap())
        .collect();
    assert_eq!(counts, [(2, Some(now)), (0, None), (2, Some(now))]);
}

/// The index decides whether a damaged event matches a filter, if the event was indexed before the damage.
#[tokio::test]
async fn a_damaged_event_is_given_where_it_may_match() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { tail_events: 4, bulk_tail_events: 4, ..options(&folder) };
    let engine = SqliteEngine::create(options).await.unwrap();
    put(&engine, &many(4)).await;
    put(&engine, &many(6)).await;
    let damage = "UPDATE event SET json = replace(json, 'notes', 'notez') WHERE seq IN (2, 6)";
    assert_eq!(Connection::open(engine.path()).unwrap().execute(damage, []).unwrap(), 2);
    let of_user = |n| Filter::of_entity(Entity::new("user", format!("user-{n}")));
    let both = Filter { types: vec![TypePattern::new("note.made")], ..of_user(1) };
    let other = Filter { types: vec![TypePattern::new("other")], ..of_user(1) };
    let ids = |id: &str| Filter { event_ids: [id.to_owned()].into_iter().collect(), ..Filter::default() };
    for (filter, expected) in [
        (Filter::default(), vec![(2, true), (6, true)]),
        (of_user(1), vec![(2, true), (6, false)]),
        (of_user(3), vec![(6, false)]),
        (both, vec![(2, true), (6, false)]),
        (other, vec![(6, false)]),
        (ids("e1"), vec![(2, true)]),
        (ids("e5"), vec![(6, true)]),
        (ids("e4"), vec![]),
    ] {
        let filter = Arc::new(filter);
        let damaged: Vec<_> = all(&engine, &filter)
            .await
            .iter()
            .filter_map(|entry| entry.as_ref().err())
            .map(|damaged| (damaged.sequence, damaged.indexed))
            .collect();
        assert_eq!(damaged, expected, "{filter:?}");
    }
    let whole = engine.at(0, &[2]).await.unwrap().remove(0).unwrap();
    let removal = Removal { entries: &[whole], kind: RemovalKind::Erase, with: &Transaction::durable() };
    assert!(matches!(engine.remove(0, &removal).await.unwrap(), Removed::Done { events: 1, .. }));
    assert_eq!(engine.locate(0, &["e1"]).await.unwrap(), [Some(IdState::Erased)]);
    let findings = engine.verify(0, &|_| {}).await.unwrap().findings;
    assert!(findings.iter().all(|finding| finding.position == Some(at(6))), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_wakes_waiting_callers_on_every_handle() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (engine(&folder).await, engine(&folder).await);
    for waiter in [one.clone(), other.clone()] {
        let head = one.state(0).await.unwrap().head;
        let waiting = tokio::spawn(async move { waiter.changed(&[head], Duration::MAX).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!waiting.is_finished());
        put(&one, &[event(&format!("e{head}"), "u", "")]).await;
        waiting.await.unwrap().unwrap();
    }
    other.changed(&[0], Duration::MAX).await.unwrap();
    other.changed(&[99], Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_restored_store_is_of_a_higher_generation_and_says_what_was_lost() {
    let folder = tempfile::tempdir().unwrap();
    let original = engine(&folder).await;
    put(&original, &many(5)).await;
    let backup = folder.path().join("backup.db");
    original.backup_to(&backup).await.unwrap();
    let entries = original.at(0, &[2]).await.unwrap();
    let entries: Vec<Entry> = entries.into_iter().flatten().collect();
    let removal = Removal { entries: &entries, kind: RemovalKind::Erase, with: &Transaction::durable() };
    original.remove(0, &removal).await.unwrap();
    put(&original, &[event("late", "u", "")]).await;
    original.close().await;

    let settle = async |engine: SqliteEngine| {
        assert_eq!(engine.locate(0, &["e1"]).await.unwrap(), [Some(IdState::Erased)]);
        let mut transaction = Transaction::durable();
        transaction.put(counter("settled"), "yes");
        engine.commit(0, &[transaction]).await.map(drop)
    };
    let options = || options(&folder);
    let failing = async |_| Err(StorageFailure::Other("no".into()));
    let failed = SqliteEngine::restore(options(), &backup, true, failing).await;
    assert_eq!(failed.err(), Some(StorageFailure::Other("no".into())));
    let names = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(names, 2, "the store and the backup");
    let untouched = engine(&folder).await;
    assert_eq!(untouched.state(0).await.unwrap().head, 6, "the store was not touched");
    untouched.close().await;

    for generation in [2, 3] {
        let restored = SqliteEngine::restore(options(), &backup, true, settle).await.unwrap().engine;
        let state = restored.state(0).await.unwrap();
        assert_eq!((state.generation, state.events), (generation, 4));
        let next = (generation - 1) << 32;
        assert_eq!(state.ends, [EpochEnd { epoch: 1, last: 5, next, restored: true }]);
        assert_eq!(state.head, next);
        let read = [domain::ports::engine::Read::Row(counter("settled"))];
        let mut found = restored.get(0, &read).await.unwrap();
        assert_eq!((found.generation, found.row()), (generation, Some(b"yes".to_vec())));
        assert_eq!(restored.verify(0, &|_| {}).await.unwrap().findings, []);
        assert_eq!(restored.scrub(0, false).await.unwrap(), [""; 0]);
        let mut outdated = Transaction::new();
        outdated.guard(Guard::Generation(generation - 1)).add(counter("x"), 1);
        assert!(!restored.commit(0, &[outdated]).await.unwrap()[0].is_done());
        restored.close().await;
    }
}

#[tokio::test]
async fn a_file_of_an_earlier_layout_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let made = engine(&folder).await;
    let path = made.path().to_owned();
    made.close().await;
    let backup = folder.path().join("backup.db");
    for layout in [1, 2] {
        Connection::open(&path).unwrap().pragma_update(None, "user_version", layout).unwrap();
        std::fs::copy(&path, &backup).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let settle = async |_| Ok(());
        let elsewhere = SqliteOptions::new(folder.path().join("other.db"));
        for refusal in [
            SqliteEngine::create(options(&folder)).await.err(),
            SqliteEngine::open(options(&folder)).await.err(),
            SqliteEngine::open_read_only(options(&folder)).await.err(),
            SqliteEngine::restore(elsewhere, &backup, false, settle).await.err(),
        ] {
            let Some(StorageFailure::Foreign(said)) = refusal else { panic!("{refusal:?}") };
            assert!(
                said.contains(&format!("layout {layout}")) && said.contains("Export the events"),
                "{said}"
            );
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "it stays as it is");
        assert!(!folder.path().join("other.db").exists());
    }
}

#[tokio::test]
async fn an_event_that_is_larger_than_a_page_comes_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    let json = event("big", "u", &"x".repeat(300_000)).json().to_owned();
    let big = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
    put(&engine, &[big]).await;
    let everything = Arc::default();
    assert_eq!(all(&engine, &everything).await[0].as_ref().unwrap().event.json(), json);
}
