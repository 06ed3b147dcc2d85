//! The engine on a real server: rows and transactions, transactions with appends and removals, and log epochs.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a panic is a test's way to fail"
)]

use std::{collections::BTreeSet, slice, sync::Arc, time::Duration};

use conformance::Draft;
use domain::{
    Event, Filter, StorageFailure,
    expectation::NewerEvents,
    ports::{
        AppendOutcome, Atomicity, Order, StorageEngine,
        engine::{
            Appended, Entry, Guard, IdState, Outcome, Read, Removal, RemovalKind, Removed, RowId, Scan,
            Snapshot, Space, SpaceKind, Transaction, Write,
        },
    },
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use servers::{Aof, Binary, Config, Server};

const DONE: Outcome = Outcome::Done { left_out: Vec::new() };

async fn server() -> Server {
    Server::start(&Binary::default(), &Config::default()).await.unwrap()
}

/// Starts a server, and returns an engine on it.
async fn engine() -> (Server, RedisEngine) {
    let server = server().await;
    let engine = RedisEngine::create(RedisOptions::new(server.url())).await.unwrap();
    (server, engine)
}

async fn commit(engine: &RedisEngine, transaction: &Transaction) -> Outcome {
    engine.commit(0, slice::from_ref(transaction)).await.unwrap().remove(0)
}

async fn read(engine: &RedisEngine, read: Read) -> Snapshot {
    engine.get(0, &[read]).await.unwrap()
}

async fn row(engine: &RedisEngine, row: &RowId) -> Option<Vec<u8>> {
    read(engine, Read::Row(row.clone())).await.row()
}

/// Returns the keys of a range, in its order.
async fn keys(engine: &RedisEngine, range: Read) -> Vec<Vec<u8>> {
    read(engine, range).await.range().into_iter().map(|(key, _)| key).collect()
}

async fn append(engine: &RedisEngine, batch: &[Event]) -> Vec<AppendOutcome> {
    match engine.append(0, batch, Atomicity::Each, &Transaction::new()).await.unwrap() {
        Appended::Done(outcomes) => outcomes,
        refused => panic!("{refused:?}"),
    }
}

async fn log(engine: &RedisEngine, filter: Filter) -> Vec<Entry> {
    let filter = Arc::new(filter);
    let scan = Scan {
        filter: &filter,
        order: Order::OldestFirst,
        after: None,
        until: None,
        limit: 1_000,
        max_bytes: u64::MAX,
    };
    engine.scan(0, &scan).await.unwrap().entries
}

async fn remove(engine: &RedisEngine, entries: &[Entry], kind: RemovalKind, with: &Transaction) -> Removed {
    engine.remove(0, &Removal { entries, kind, with }).await.unwrap()
}

async fn findings(engine: &RedisEngine) -> Vec<String> {
    let report = engine.verify(0, &|_| {}).await.unwrap();
    report.findings.into_iter().map(|finding| finding.detail).collect()
}

fn checkpoint(name: &str) -> RowId {
    RowId::of(SpaceKind::Checkpoint, name)
}

fn text(value: &str) -> Option<Vec<u8>> {
    Some(value.as_bytes().to_vec())
}

#[tokio::test]
async fn a_transaction_is_done_where_its_guards_hold_and_else_changes_nothing() {
    let (_server, engine) = engine().await;
    let (one, other) = (checkpoint("one"), checkpoint("other"));
    let mut first = Transaction::new();
    first.guard(Guard::Absent(one.clone())).put(one.clone(), "1").put(other.clone(), "2");
    assert_eq!(commit(&engine, &first).await, DONE);
    assert_eq!(commit(&engine, &first).await, Outcome::Refused { guard: 0 });

    let mut second = Transaction::new();
    second.guard(Guard::Is(one.clone(), b"1".to_vec())).guard(Guard::Is(other.clone(), b"1".to_vec()));
    second.put(one.clone(), "3").delete(other.clone());
    assert_eq!(commit(&engine, &second).await, Outcome::Refused { guard: 1 });
    assert_eq!((row(&engine, &one).await, row(&engine, &other).await), (text("1"), text("2")));

    let mut third = Transaction::new().even_when_full();
    third
        .guard(Guard::Present(one.clone()))
        .guard(Guard::Generation(engine.state(0).await.unwrap().generation));
    third.delete(one.clone()).put(other.clone(), b"\0\r\n\xff".to_vec());
    assert_eq!(commit(&engine, &third).await, DONE);
    assert_eq!((row(&engine, &one).await, row(&engine, &other).await), (None, Some(b"\0\r\n\xff".to_vec())));
    let mut fourth = Transaction::new();
    fourth.guard(Guard::Generation(77)).put(one.clone(), "x");
    assert_eq!(commit(&engine, &fourth).await, Outcome::Refused { guard: 0 });
}

#[tokio::test]
async fn a_later_step_is_left_out_alone_and_sees_those_before_it() {
    let (_server, engine) = engine().await;
    let row_of = |name: &str| Space::within(SpaceKind::Lane, "g\0\x00000").row(name);
    let mut transaction = Transaction::new();
    transaction.put(row_of("a"), "1");
    transaction.step();
    transaction.guard(Guard::Present(row_of("b"))).put(row_of("x"), "left out");
    transaction.step();
    transaction.guard(Guard::Is(row_of("a"), b"1".to_vec())).put(row_of("b"), "2");
    transaction.step();
    transaction
        .guard(Guard::Present(row_of("b")))
        .guard(Guard::Absent(row_of("a")))
        .put(row_of("y"), "left out");
    transaction.step();
    transaction.guard(Guard::Present(row_of("b"))).delete(row_of("a"));
    assert_eq!(commit(&engine, &transaction).await, Outcome::Done { left_out: vec![1, 3] });
    assert_eq!(keys(&engine, Read::all(row_of("").space)).await, [b"b".to_vec()]);
}

#[tokio::test]
async fn transactions_of_a_call_see_those_before_them() {
    let (_server, engine) = engine().await;
    let counter = RowId::of(SpaceKind::Counter, "n");
    let next = |n: u64| {
        let mut transaction = Transaction::new();
        transaction
            .guard(Guard::still(counter.clone(), (n > 0).then(|| n.to_string().into_bytes()).as_deref()));
        transaction.add(counter.clone(), 1);
        transaction
    };
    let outcomes = engine.commit(0, &[next(0), next(0), next(1), next(5), next(2)]).await.unwrap();
    let refused = Outcome::Refused { guard: 0 };
    assert_eq!(outcomes, [DONE, refused.clone(), DONE, refused, DONE]);
    assert_eq!(row(&engine, &counter).await, text("3"));
    // More transactions than one call of a function takes.
    let many: Vec<Transaction> = (3..400).map(next).collect();
    assert!(engine.commit(0, &many).await.unwrap().iter().all(Outcome::is_done));
    assert_eq!(row(&engine, &counter).await, text("400"));
}

#[tokio::test]
async fn clearing_takes_every_row_and_rows_put_after_it_stay() {
    let (_server, engine) = engine().await;
    for (kind, value) in [(SpaceKind::Blocked, "v"), (SpaceKind::DeadLetterState, "")] {
        let space = Space::within(kind, "scope/ä");
        let mut put = Transaction::new();
        for n in 0..1_500 {
            put.put(space.row(format!("k{n:04}")), value);
        }
        assert_eq!(commit(&engine, &put).await, DONE);
        assert_eq!(read(&engine, Read::Count(space.clone())).await.count(), 1_500);
        let mut clear = Transaction::new();
        clear.guard(Guard::Present(space.row("k0007"))).put(space.row("gone"), value).clear(space.clone());
        clear.put(space.row("new"), value);
        clear.step();
        clear.guard(Guard::Absent(space.row("k0007"))).guard(Guard::Present(space.row("new")));
        clear.put(space.row("newer"), value);
        assert_eq!(commit(&engine, &clear).await, DONE);
        assert_eq!(keys(&engine, Read::all(space.clone())).await, [b"new".to_vec(), b"newer".to_vec()]);
    }
}

#[tokio::test]
async fn numbers_are_added_exactly_and_what_is_no_number_is_damage() {
    let (_server, engine) = engine().await;
    let (number, words) = (RowId::of(SpaceKind::Counter, "n"), RowId::of(SpaceKind::Counter, "w"));
    let mut transaction = Transaction::new();
    transaction.add(number.clone(), (1 << 53) - 2).add(number.clone(), 1).put(words.clone(), "three");
    assert_eq!(commit(&engine, &transaction).await, DONE);
    assert_eq!(row(&engine, &number).await, text("9007199254740991"));
    let mut down = Transaction::new();
    down.add(number.clone(), -9_007_199_254_740_992).add(number.clone(), -3);
    assert_eq!(commit(&engine, &down).await, DONE);
    assert_eq!(row(&engine, &number).await, text("-4"));
    let mut wrong = Transaction::new();
    wrong.put(number.clone(), "0").add(words, 1);
    let failure = engine.commit(0, &[wrong]).await.unwrap_err();
    assert!(matches!(failure, StorageFailure::Corrupt(_)), "{failure:?}");
    assert_eq!(row(&engine, &number).await, text("-4"), "nothing was done");
    let mut beyond = Transaction::new();
    beyond.add(number.clone(), i64::MAX);
    let failure = engine.commit(0, &[beyond]).await.unwrap_err();
    assert!(matches!(failure, StorageFailure::Corrupt(_)), "it is not rounded: {failure:?}");
    assert_eq!(row(&engine, &number).await, text("-4"));
}

#[tokio::test]
async fn ranges_come_in_the_byte_order_of_their_keys() {
    let (_server, engine) = engine().await;
    let sorted: Vec<Vec<u8>> =
        [&b""[..], b"\0", b"\0\xff", b"(", b"+", b"-", b"[", b"a", b"a\0", b"aa", b"b", b"\xff\xfe"]
            .map(<[u8]>::to_vec)
            .to_vec();
    for kind in [SpaceKind::ScheduleOrder, SpaceKind::DeadLetterAt] {
        let space = Space::of(kind);
        let mut transaction = Transaction::new();
        for key in sorted.iter().rev() {
            transaction.put(space.row(key.clone()), if kind.is_index() { "" } else { "v" });
        }
        assert_eq!(commit(&engine, &transaction).await, DONE);
        assert_eq!(keys(&engine, Read::all(space.clone())).await, sorted);
        let range = |after: usize, before: usize, reverse, limit| Read::Range {
            space: space.clone(),
            after: Some(sorted[after].clone()),
            before: Some(sorted[before].clone()),
            reverse,
            limit,
        };
        assert_eq!(keys(&engine, range(1, 6, false, 100)).await, sorted[2..6]);
        assert_eq!(keys(&engine, range(1, 6, false, 2)).await, sorted[2..4]);
        assert_eq!(keys(&engine, range(0, 11, true, 2)).await, [sorted[10].clone(), sorted[9].clone()]);
        assert_eq!(keys(&engine, Read::first(space.clone(), 1)).await, sorted[..1]);
        let mut unlist = Transaction::new();
        unlist.guard(Guard::Present(space.row(sorted[3].clone()))).delete(space.row(sorted[3].clone()));
        unlist.guard(Guard::Absent(space.row("zz")));
        assert_eq!(commit(&engine, &unlist).await, DONE);
        assert_eq!(commit(&engine, &unlist).await, Outcome::Refused { guard: 0 });
        assert_eq!(read(&engine, Read::Count(space)).await.count(), sorted.len() as u64 - 1);
    }
}

#[tokio::test]
async fn reads_of_one_call_are_answered_in_their_order() {
    let (_server, engine) = engine().await;
    let (order, segments) = (Space::of(SpaceKind::ReplayOrder), Space::within(SpaceKind::Segment, "g"));
    let mut transaction = Transaction::new();
    transaction.put(segments.row("1"), "one").put(segments.row("2"), "two").list(order.row("r"));
    assert_eq!(commit(&engine, &transaction).await, DONE);
    let reads = [
        Read::Row(segments.row("2")),
        Read::all(order.clone()),
        Read::Row(segments.row("3")),
        Read::all(segments.clone()),
        Read::Row(order.row("r")),
        Read::Row(order.row("s")),
        Read::Count(segments.clone()),
        Read::Row(segments.row("2")),
    ];
    let mut found = engine.get(0, &reads).await.unwrap();
    assert_eq!(found.generation, engine.state(0).await.unwrap().generation);
    assert_eq!(found.row(), text("two"));
    assert_eq!(found.range(), [(b"r".to_vec(), Vec::new())]);
    assert_eq!(found.row(), None);
    assert_eq!(found.range(), [(b"1".to_vec(), b"one".to_vec()), (b"2".to_vec(), b"two".to_vec())]);
    assert_eq!((found.row(), found.row()), (Some(Vec::new()), None));
    assert_eq!(found.count(), 2);
    assert_eq!(found.row(), text("two"));
}

#[tokio::test]
async fn the_scopes_of_a_kind_are_those_that_have_rows() {
    let (_server, engine) = engine().await;
    let scopes = [&b""[..], b"g", b"g\0\xff", b"other group"];
    let mut transaction = Transaction::new();
    for scope in scopes {
        transaction.put(Space::within(SpaceKind::Lane, scope).row("1"), "x");
        transaction.put(Space::within(SpaceKind::LaneEnd, [scope, b"!"].concat()).row("1"), "x");
    }
    assert_eq!(commit(&engine, &transaction).await, DONE);
    let mut found = keys(&engine, Read::Scopes(SpaceKind::Lane)).await;
    found.sort();
    assert_eq!(found, scopes.map(<[u8]>::to_vec));
    let mut clear = Transaction::new();
    clear.clear(Space::within(SpaceKind::Lane, "g"));
    assert_eq!(commit(&engine, &clear).await, DONE);
    assert_eq!(keys(&engine, Read::Scopes(SpaceKind::Lane)).await.len(), 3);
    assert_eq!(keys(&engine, Read::Scopes(SpaceKind::DeadLetterState)).await.len(), 0);
}

#[tokio::test]
async fn ids_are_guarded_and_refused() {
    let (server, engine) = engine().await;
    let outcomes = append(&engine, &Draft::many("e", 2)).await;
    let AppendOutcome::Stored(first) = outcomes[0] else { panic!("{outcomes:?}") };
    let stored = IdState::Stored(first.sequence);
    let guarded = |id: &str, state| {
        let mut transaction = Transaction::new();
        transaction.guard(Guard::Id(id.to_owned(), state)).put(checkpoint(id), "done");
        transaction
    };
    assert_eq!(commit(&engine, &guarded("e-0", Some(stored))).await, DONE);
    assert_eq!(commit(&engine, &guarded("e-0", None)).await, Outcome::Refused { guard: 0 });
    assert_eq!(commit(&engine, &guarded("f", None)).await, DONE);
    assert_eq!(commit(&engine, &guarded("f", Some(IdState::Erased))).await, Outcome::Refused { guard: 0 });

    let mut tombstone = Transaction::durable();
    tombstone.guard(Guard::Id("f".to_owned(), None)).write(Write::Tombstone("f".to_owned()));
    tombstone.write(Write::Tombstone("f".to_owned())).write(Write::Tombstone("e-0".to_owned()));
    tombstone.step();
    tombstone.guard(Guard::Id("f".to_owned(), Some(IdState::Erased))).put(checkpoint("seen"), "");
    assert_eq!(commit(&engine, &tombstone).await, DONE);
    let located = engine.locate(0, &["f", "e-0", "unknown"]).await.unwrap();
    assert_eq!(located, [Some(IdState::Erased), Some(stored), None]);
    assert_eq!(append(&engine, &[Draft::new("f").event()]).await, [AppendOutcome::Erased]);
    assert_eq!(findings(&engine).await, [""; 0], "a stored event keeps its id");

    // Another handle grows the dictionary. This handle then finds the buckets in their new places.
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let split: Vec<String> =
        redis::cmd("HMGET").arg("{default:0}:meta").arg("level").arg("split").query(&mut client).unwrap();
    assert_eq!(split, ["14", "0"]);
    let _: i64 =
        redis::cmd("HSET").arg("{default:0}:meta").arg("fields").arg(800_000).query(&mut client).unwrap();
    let other = RedisEngine::create(RedisOptions::new(server.url())).await.unwrap();
    append(&other, &Draft::many("g", 1)).await;
    let split: u32 = redis::cmd("HGET").arg("{default:0}:meta").arg("split").query(&mut client).unwrap();
    assert!(split > 0, "the dictionary grew");
    assert_eq!(commit(&engine, &guarded("e-1", None)).await, Outcome::Refused { guard: 0 });
}

#[tokio::test]
async fn what_goes_with_an_append_is_done_in_the_same_step_or_nothing_is() {
    let (_server, engine) = engine().await;
    let waiting = checkpoint("waiting");
    let mut with = Transaction::new();
    with.guard(Guard::Present(waiting.clone())).delete(waiting.clone());
    let batch = Draft::many("e", 3);
    let refused = engine.append(0, &batch, Atomicity::Each, &with).await.unwrap();
    assert_eq!(refused, Appended::Refused { guard: 0 });
    assert_eq!(engine.state(0).await.unwrap().head, 0);

    let mut put = Transaction::new();
    put.put(waiting.clone(), "");
    commit(&engine, &put).await;
    let Appended::Done(outcomes) = engine.append(0, &batch[..2], Atomicity::Each, &with).await.unwrap()
    else {
        panic!("refused")
    };
    assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");
    assert_eq!(row(&engine, &waiting).await, None);

    // The transaction is also performed when no event is new.
    let known = engine.append(0, &batch[..2], Atomicity::Each, &with).await.unwrap();
    assert_eq!(known, Appended::Refused { guard: 0 });
    commit(&engine, &put).await;
    let Appended::Done(outcomes) = engine.append(0, &batch[..2], Atomicity::Each, &with).await.unwrap()
    else {
        panic!("refused")
    };
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::AlreadyStored(_))),
        "{outcomes:?}"
    );
    assert_eq!(row(&engine, &waiting).await, None);

    // Two known events and one new one.
    commit(&engine, &put).await;
    let Appended::Done(outcomes) = engine.append(0, &batch, Atomicity::AllOrNothing, &with).await.unwrap()
    else {
        panic!("refused")
    };
    assert!(matches!(outcomes[2], AppendOutcome::Stored(_)), "{outcomes:?}");
    assert_eq!(row(&engine, &waiting).await, None);
    assert_eq!(findings(&engine).await, [""; 0]);
}

#[tokio::test]
async fn removals_are_guarded_and_count_what_they_took() {
    let (_server, engine) = engine().await;
    append(&engine, &Draft::many("e", 10)).await;
    let before = engine.state(0).await.unwrap();
    let entries = log(&engine, Filter::default()).await;
    let removals = RowId::of(SpaceKind::Counter, "removals");
    let mut with = Transaction::new();
    with.guard(Guard::Absent(removals.clone())).add(removals.clone(), 1);
    let removed = remove(&engine, &entries[..4], RemovalKind::Oldest, &with).await;
    let Removed::Done { events: 4, bytes } = removed else { panic!("{removed:?}") };
    assert_eq!(
        remove(&engine, &entries[4..5], RemovalKind::Oldest, &with).await,
        Removed::Refused { guard: 0 },
        "another removal came first"
    );
    let state = engine.state(0).await.unwrap();
    assert_eq!((state.events, state.bytes), (6, before.bytes - bytes));
    assert_eq!(state.trimmed_through, 4);

    // Events that were removed before are not counted again.
    let again = remove(&engine, &entries[2..6], RemovalKind::Among, &Transaction::new()).await;
    let Removed::Done { events: 2, bytes: more } = again else { panic!("{again:?}") };
    let state = engine.state(0).await.unwrap();
    assert_eq!((state.events, state.bytes), (4, before.bytes - bytes - more));

    let erased = remove(&engine, &entries[7..8], RemovalKind::Erase, &Transaction::new()).await;
    assert!(matches!(erased, Removed::Done { events: 1, .. }), "{erased:?}");
    assert_eq!(append(&engine, &[Draft::new("e-7").event()]).await, [AppendOutcome::Erased]);
    let again = append(&engine, &[Draft::new("e-0").event()]).await;
    assert!(matches!(again[0], AppendOutcome::Stored(_)), "a trimmed id is free: {again:?}");
    assert_eq!(findings(&engine).await, [""; 0]);
    let remains = engine.scrub(0, true).await.unwrap();
    assert!(remains.iter().any(|text| text.contains("replicas")), "{remains:?}");
    assert_eq!(engine.scrub(0, false).await.unwrap(), [""; 0]);
    assert_eq!(findings(&engine).await, [""; 0]);
    let left: Vec<u64> = log(&engine, Filter::default())
        .await
        .iter()
        .map(|it| it.as_ref().unwrap().position.sequence)
        .collect();
    assert_eq!(left, [7, 9, 10, 11]);
}

#[tokio::test]
async fn the_log_is_scanned_counted_and_looked_up() {
    let (server, engine) = engine().await;
    let events: Vec<Event> = (0..30)
        .map(|n| Draft::new(&format!("e-{n}")).with("userId", format!("u{}", n % 3)).event())
        .collect();
    append(&engine, &events).await;
    let user = |id: &str| Filter {
        entities: [("user".to_owned(), BTreeSet::from([id.to_owned()]))].into(),
        ..Filter::default()
    };
    let filter = Arc::new(user("u1"));
    assert_eq!(engine.count(0, &filter, u64::MAX).await.unwrap(), 10);
    assert_eq!(engine.count(0, &filter, 15).await.unwrap(), 5);
    let (mut after, mut found) = (None, Vec::new());
    loop {
        let scan = Scan {
            filter: &filter,
            order: Order::NewestFirst,
            after,
            until: Some(20),
            limit: 3,
            max_bytes: u64::MAX,
        };
        let page = engine.scan(0, &scan).await.unwrap();
        assert_eq!((page.state.head, page.state.events), (30, 30));
        found.extend(page.entries.into_iter().map(|entry| entry.unwrap().position.sequence));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, [20, 17, 14, 11, 8, 5, 2]);
    let at: Vec<Option<u64>> = engine
        .at(0, &[3, 99, 1, 3])
        .await
        .unwrap()
        .into_iter()
        .map(|entry| Some(entry?.unwrap().position.sequence))
        .collect();
    assert_eq!(at, [Some(3), None, Some(1), Some(3)]);

    let mut replayed = Transaction::new();
    let now = engine.state(0).await.unwrap().now;
    replayed.write(Write::CountReplay { sequences: vec![2, 5, 5, 99, u64::MAX, 0], at: now });
    assert_eq!(engine.commit(0, &[replayed.clone(), replayed]).await.unwrap(), [DONE, DONE]);
    let counts: Vec<u32> =
        log(&engine, user("u1")).await.iter().map(|entry| entry.as_ref().unwrap().replay_count).collect();
    assert_eq!(counts, [2, 2, 0, 0, 0, 0, 0, 0, 0, 0]);

    // An append by another handle ends a wait.
    let other = RedisEngine::open(RedisOptions::new(server.url())).await.unwrap();
    let waiting = tokio::spawn(async move { other.changed(&[30], Duration::from_secs(20)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    append(&engine, &Draft::many("f", 1)).await;
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap().unwrap();
    engine.changed(&[31], Duration::from_millis(20)).await.unwrap();
    assert!(engine.occupied().await.unwrap().unwrap() > 1_000);
}

#[tokio::test]
async fn a_server_that_restarted_is_of_another_generation() {
    let config = Config { aof: Aof::Always, ..Config::default() };
    let mut server = Server::start(&Binary::default(), &config).await.unwrap();
    let engine = RedisEngine::create(RedisOptions::new(server.url())).await.unwrap();
    append(&engine, &Draft::many("e", 2)).await;
    let before = engine.state(0).await.unwrap();
    let leased = |generation| {
        let mut transaction = Transaction::new().even_when_full();
        transaction.guard(Guard::Generation(generation)).put(checkpoint("segment"), "1");
        transaction
    };
    assert_eq!(commit(&engine, &leased(before.generation)).await, DONE);
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let outcome = loop {
        match engine.commit(0, &[leased(before.generation)]).await {
            Ok(outcomes) => break outcomes,
            Err(StorageFailure::Unavailable(_) | StorageFailure::Unknown(_)) => {}
            Err(failure) => panic!("{failure:?}"),
        }
    };
    assert_eq!(outcome, [Outcome::Refused { guard: 0 }]);
    let after = engine.state(0).await.unwrap();
    assert!(after.generation > before.generation && after.generation == after.epoch, "{after:?}");
    assert_eq!((after.ends.len(), after.ends[0].epoch, after.ends[0].last), (1, before.epoch, 2));
    assert_eq!(after.ends[0].next, after.head);
    let outcomes = append(&engine, &Draft::many("f", 1)).await;
    let AppendOutcome::Stored(at) = outcomes[0] else { panic!("{outcomes:?}") };
    assert!(at.sequence > after.ends[0].next);
    assert_eq!(commit(&engine, &leased(after.generation)).await, DONE);
}

#[tokio::test]
async fn partitions_are_apart() {
    let server = server().await;
    let options = RedisOptions { partitions: Some(4), ..RedisOptions::new(server.url()) };
    let engine = RedisEngine::create(options.clone()).await.unwrap();
    assert_eq!((engine.info().partitions, engine.partition_count()), (4, 4));
    let mut transaction = Transaction::new();
    transaction.put(checkpoint("a"), "1");
    assert_eq!(engine.commit(2, slice::from_ref(&transaction)).await.unwrap(), [DONE]);
    assert_eq!(engine.get(2, &[Read::Row(checkpoint("a"))]).await.unwrap().row(), text("1"));
    assert_eq!(engine.get(1, &[Read::Row(checkpoint("a"))]).await.unwrap().row(), None);
    let done = engine.append(3, &Draft::many("e", 1), Atomicity::Each, &Transaction::new()).await.unwrap();
    let Appended::Done(outcomes) = done else { panic!("{done:?}") };
    assert_eq!(outcomes, [AppendOutcome::Stored(domain::Position::new(3, 1))]);
    assert!(engine.commit(4, &[transaction]).await.is_err());
    engine.changed(&[0, 0, 0, 0], Duration::from_secs(5)).await.unwrap();
    // Another handle finds the partitions.
    let other = RedisEngine::open(RedisOptions { partitions: None, ..options }).await.unwrap();
    assert_eq!(other.state(3).await.unwrap().head, 1);
}

#[tokio::test]
async fn a_namespace_of_layout_1_is_refused_and_it_is_said_what_to_do() {
    let server = server().await;
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let meta = "{default:0}:meta";
    let _: i64 = redis::cmd("HSET")
        .arg(meta)
        .arg(&["layout", "1", "store", "00000000000000ab", "partitions", "1", "head", "7"][..])
        .query(&mut client)
        .unwrap();
    // Also the hash that layout 1 had for several partitions.
    for old in [&["HDEL", meta, "none"][..], &["HSET", meta, "layout", "2"], &["HDEL", meta, "head"]] {
        let mut command = redis::Cmd::new();
        for word in old {
            command.arg(word);
        }
        let _: i64 = command.query(&mut client).unwrap();
        let layout: String = redis::cmd("HGET").arg(meta).arg("layout").query(&mut client).unwrap();
        let has_head: bool = redis::cmd("HEXISTS").arg(meta).arg("head").query(&mut client).unwrap();
        if (layout.as_str(), has_head) == ("2", true) {
            continue;
        }
        let failure = RedisEngine::create(RedisOptions::new(server.url())).await.unwrap_err();
        let StorageFailure::Foreign(said) = &failure else { panic!("{failure:?}") };
        assert!(said.contains("layout 1") && said.contains("import"), "{said}");
    }
}

#[tokio::test]
async fn a_namespace_that_was_removed_is_noticed() {
    let (server, engine) = engine().await;
    let other = RedisEngine::open(RedisOptions::new(server.url())).await.unwrap();
    other.remove_namespace().await.unwrap();
    let failure = engine.get(0, &[]).await.unwrap_err();
    assert!(matches!(failure, StorageFailure::Foreign(_)), "{failure:?}");
    let mut transaction = Transaction::new();
    transaction.put(checkpoint("a"), "1");
    let failure = engine.commit(0, &[transaction]).await.unwrap_err();
    assert!(matches!(failure, StorageFailure::Foreign(_)), "{failure:?}");
    let _again = RedisEngine::create(RedisOptions::new(server.url())).await.unwrap();
    let failure = engine.get(0, &[]).await.unwrap_err();
    assert!(matches!(failure, StorageFailure::Foreign(_)), "{failure:?}");
    assert!(engine.state(0).await.is_err());
}

/// A short transaction, such as the creation of a group, may be the first write after a restart. It makes the server
/// rewrite its file before it returns, although the store already existed.
#[tokio::test]
async fn an_open_store_rewrites_the_file_of_a_restarted_server() {
    for binary in Binary::all().unwrap() {
        let config = Config { aof: Aof::Always, ..Config::default() };
        let mut server = Server::start(&binary, &config).await.unwrap();
        let made = RedisEngine::create(RedisOptions::new(server.url())).await.unwrap();
        append(&made, &Draft::many("e", 3)).await;
        made.close().await;
        server.kill().await.unwrap();
        server.restart().await.unwrap();

        let opened = RedisEngine::open(RedisOptions::new(server.url())).await.unwrap();
        let mut transaction = Transaction::new();
        transaction.put(checkpoint("a"), "1");
        assert_eq!(commit(&opened, &transaction).await, DONE);
        opened.close().await;
        let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        let info: String = redis::cmd("INFO").arg("persistence").query(&mut client).unwrap();
        let has = |field: &str| info.lines().any(|line| line.trim_end() == field);
        let is_asked =
            has("aof_rewrite_in_progress:1") || has("aof_rewrite_scheduled:1") || !has("aof_rewrites:0");
        assert!(is_asked, "{binary}: {info}");
    }
}

/// A process may be killed while it merges runs. Its partial run is not part of the store, and the next merge removes
/// it.
#[tokio::test]
async fn a_run_that_was_begun_and_given_up_is_removed() {
    let (server, engine) = engine().await;
    let mut client = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let (meta, begun) = ("{default:0}:meta", "{default:0}:run:7-9");
    let _: String = redis::cmd("SET").arg(begun).arg("half of it").query(&mut client).unwrap();
    let making = format!("{begun} 10");
    let _: i64 = redis::cmd("HSET").arg(meta).arg("making").arg(making).query(&mut client).unwrap();
    // Enough events for several runs.
    for batch in Draft::many("e", 10_000).chunks(200) {
        append(&engine, batch).await;
    }
    for _ in 0..200 {
        let left: bool = redis::cmd("EXISTS").arg(begun).query(&mut client).unwrap();
        let making: bool = redis::cmd("HEXISTS").arg(meta).arg("making").query(&mut client).unwrap();
        if !left && !making {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the run that was given up is left");
}

/// Newer events fail the guard only if they may match: by a pending term, by a filter without searchable terms, or
/// after a fold.
#[tokio::test]
async fn a_guard_on_newer_events_looks_at_what_waits_to_be_folded() {
    let (_server, engine) = engine().await;
    let event = |id: String, user: &str| {
        Draft::new(&id).of_type("order.placed").with("source", "shop").with("userId", user).event()
    };
    let append = async |from: usize, count: usize| {
        let batch: Vec<Event> =
            (from..from + count).map(|n| event(format!("e{n}"), &format!("u{n}"))).collect();
        engine.append(0, &batch, Atomicity::Each, &Transaction::default()).await.unwrap();
        engine.state(0).await.unwrap().head
    };
    let holds = async |filter: Filter, after: u64| {
        let mut guarded = Transaction::new();
        guarded.guard(Guard::NoneNewer(NewerEvents { filter: Arc::new(filter), key: None, after }));
        guarded.put(checkpoint("seen"), "");
        commit(&engine, &guarded).await == DONE
    };
    let (first, last) = (append(0, 3).await, append(3, 5).await);
    let user = |user: &str| Filter::default().entity("user", user);
    for after in [0, first - 1, first, last - 1, last] {
        assert!(holds(user("none"), after).await, "after {after}");
        assert!(holds(Filter::types(["none.such"]), after).await, "after {after}");
        assert!(holds(Filter { sources: ["none".to_owned()].into(), ..Filter::default() }, after).await);
        let is_newest = after == last;
        assert_eq!(holds(user("u7"), after).await, is_newest, "the last event, after {after}");
        assert_eq!(holds(Filter::types(["order.placed"]), after).await, is_newest, "after {after}");
        assert_eq!(holds(Filter::types(["none.*"]), after).await, is_newest, "a pattern, after {after}");
    }
    assert!(holds(user("u0"), 1).await && !holds(user("u0"), 0).await, "the first event of a record");
    assert!(holds(user("u2"), 3).await && !holds(user("u2"), 2).await, "the last event of a record");
    // Folded terms are not examined here. The caller reads those events.
    engine.fold().await.unwrap();
    assert!(!holds(user("none"), first).await);
    assert!(holds(user("u7"), last).await);
    append(8, 1).await;
    assert!(holds(user("none"), last).await && !holds(user("none"), first).await);
    assert!(!holds(user("u8"), last).await);
}
