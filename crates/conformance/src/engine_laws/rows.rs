//! Laws of rows: reads and their order, and distinct names.

use std::{collections::BTreeMap, time::Duration};

use domain::ports::{
    Atomicity, Clock as _,
    engine::{
        Read, RowId, Space, SpaceKind, Transaction,
        rows::{Part, key},
    },
};

use crate::{Draft, EngineBench, EngineHarness};

/// A row in the form that a range returns.
type Pair = (Vec<u8>, Vec<u8>);

fn texts(rows: &[Pair]) -> Vec<(&str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).expect("a text");
    rows.iter().map(|(key, value)| (text(key), text(value))).collect()
}

/// Returns similar keys, in byte order.
pub(super) fn odd_keys() -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = [
        &b""[..],
        b"\0",
        b"\0\0",
        b"\0\xff",
        b"\x01",
        b"\n",
        b" ",
        b"*",
        b"0",
        b"00",
        b"1",
        b"10",
        b"2",
        b":",
        b"::",
        b"A",
        b"[",
        b"\\",
        b"a",
        b"a\0",
        b"a\0b",
        b"a:",
        b"a:b",
        b"aa",
        b"b",
        b"{",
        b"{a}",
        b"{}",
        b"\xc3",
        b"\xc3\xa4",
        b"\xfe",
        b"\xff",
        b"\xff\0",
        b"\xff\xff",
    ]
    .map(<[u8]>::to_vec)
    .into();
    for last in [b'a', b'b', 255] {
        // This key is longer than any page, prefix, or short string of a store.
        keys.push([vec![b'k'; 5_000], vec![last]].concat());
    }
    keys.push(key(&[Part::Text("a\0b"), Part::Number(7)]));
    keys.sort();
    keys
}

/// `get` returns one result for each read of any kind, in order. The result is none for an absent row, and empty for an
/// empty space.
pub async fn get_answers_reads_in_order(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let (groups, order) = (Space::of(SpaceKind::Group), Space::of(SpaceKind::ReplayOrder));
    let segments = Space::within(SpaceKind::Segment, "g");
    let mut transaction = Transaction::new();
    transaction.put(groups.row("a"), "1").put(groups.row("b"), "").put(segments.row("a"), "3");
    transaction.list(order.row("x")).list(order.row("y"));
    bench.commit_ok(&transaction).await;
    let reads = [
        Read::Row(groups.row("b")),
        Read::Row(groups.row("c")),
        Read::all(order.clone()),
        Read::Count(groups.clone()),
        Read::Row(groups.row("a")),
        Read::Row(segments.row("a")),
        Read::Count(order),
        Read::all(Space::of(SpaceKind::Checkpoint)),
        Read::Count(Space::within(SpaceKind::Segment, "h")),
        Read::all(groups),
        Read::Row(RowId::of(SpaceKind::Group, "a")),
    ];
    let mut answers = bench.storage.open().await.get(bench.partition, &reads).await.unwrap();
    assert_eq!(answers.row(), Some(Vec::new()));
    assert_eq!(answers.row(), None);
    assert_eq!(texts(&answers.range()), [("x", ""), ("y", "")]);
    assert_eq!(answers.count(), 2);
    assert_eq!(answers.row(), Some(b"1".to_vec()));
    assert_eq!(answers.row(), Some(b"3".to_vec()));
    assert_eq!(answers.count(), 2);
    assert_eq!(answers.range(), []);
    assert_eq!(answers.count(), 0);
    assert_eq!(texts(&answers.range()), [("a", "1"), ("b", "")]);
    assert_eq!(answers.row(), Some(b"1".to_vec()));
    // One call reads many rows.
    let many = Space::of(SpaceKind::Schema);
    let mut transaction = Transaction::new();
    for n in 0..1_000 {
        transaction.put(many.row(format!("k{n}")), format!("v{n}"));
    }
    bench.commit_ok(&transaction).await;
    let reads: Vec<Read> = (0..1_500).rev().map(|n| Read::Row(many.row(format!("k{n}")))).collect();
    let mut answers = bench.engine.get(bench.partition, &reads).await.unwrap();
    for n in (0..1_500).rev() {
        let expected = (n < 1_000).then(|| format!("v{n}").into_bytes());
        assert_eq!(answers.row(), expected, "k{n}");
    }
}

/// Every call returns the time of the store's clock and the generation of the partition's state.
pub async fn get_tells_the_clock_and_the_generation(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let state = bench.state().await;
    assert!((1..1 << 32).contains(&state.generation), "{state:?}");
    for reads in [Vec::new(), vec![Read::Row(RowId::of(SpaceKind::Group, "g"))]] {
        bench.clock.advance(Duration::from_nanos(1_000_000_007));
        let answers = bench.engine.get(bench.partition, &reads).await.unwrap();
        let state = bench.state().await;
        assert_eq!((answers.now, answers.generation), (state.now, state.generation));
        // The precision is at least one microsecond.
        let behind = bench.clock.now().duration_since(answers.now);
        assert!(behind >= jiff::SignedDuration::ZERO && behind.as_micros() == 0, "{behind:?}");
    }
}

async fn ranges_come_in_byte_order(bench: &EngineBench, space: Space) {
    let keys = odd_keys();
    let value = |n: usize| if space.kind.is_index() { Vec::new() } else { format!("v{n}").into_bytes() };
    let all: Vec<Pair> = keys.iter().cloned().enumerate().map(|(n, key)| (key, value(n))).collect();
    let mut shuffled = all.clone();
    fastrand::shuffle(&mut shuffled);
    for piece in shuffled.chunks(7) {
        let mut transaction = Transaction::new();
        for (key, value) in piece {
            transaction.put(space.row(key.clone()), value.clone());
        }
        bench.commit_ok(&transaction).await;
    }
    // These rows of other kinds and scopes are neighbours.
    let mut transaction = Transaction::new();
    transaction.put(Space::within(space.kind, "another").row("a"), value(0));
    transaction.put(RowId::of(SpaceKind::Counter, "a"), "1");
    bench.commit_ok(&transaction).await;
    let mut bounds: Vec<Option<Vec<u8>>> = vec![None, Some(b"m".to_vec()), Some(b"\xff\xff\xff".to_vec())];
    bounds.extend(keys.iter().step_by(4).cloned().map(Some));
    bounds.push(keys.last().cloned());
    let mut wanted = Vec::new();
    for after in &bounds {
        for before in &bounds {
            for (reverse, limit) in [(false, usize::MAX), (true, usize::MAX), (false, 3), (true, 1)] {
                wanted.push((after.clone(), before.clone(), reverse, limit));
            }
        }
    }
    let read =
        |(after, before, reverse, limit): &(Option<Vec<u8>>, Option<Vec<u8>>, bool, usize)| Read::Range {
            space: space.clone(),
            after: after.clone(),
            before: before.clone(),
            reverse: *reverse,
            limit: *limit,
        };
    let reads: Vec<Read> = wanted.iter().map(read).collect();
    let mut answers = bench.storage.open().await.get(bench.partition, &reads).await.unwrap();
    for (after, before, reverse, limit) in &wanted {
        let is_within = |(key, _): &&Pair| {
            after.as_ref().is_none_or(|after| key > after)
                && before.as_ref().is_none_or(|before| key < before)
        };
        let mut expected: Vec<Pair> = all.iter().filter(is_within).cloned().collect();
        if *reverse {
            expected.reverse();
        }
        expected.truncate(*limit);
        let found = answers.range();
        assert_eq!(found, expected, "behind {after:?}, before {before:?}, reverse {reverse}, limit {limit}");
    }
    let mut answers = bench.engine.get(bench.partition, &[Read::Count(space)]).await.unwrap();
    assert_eq!(answers.count(), keys.len() as u64);
}

/// A range of a map has bounds, a direction and a limit.
pub async fn ranges_of_a_map_come_in_the_byte_order_of_keys(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    ranges_come_in_byte_order(&bench, Space::within(SpaceKind::Lane, "g")).await;
}

/// A range of an index has bounds, a direction and a limit.
pub async fn ranges_of_an_index_come_in_the_byte_order_of_keys(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    ranges_come_in_byte_order(&bench, Space::within(SpaceKind::DeadLetterState, "g")).await;
}

/// A put replaces the value of its key. Deletes and clears remove only the rows that they name, and absent rows are no
/// error.
pub async fn put_delete_and_clear_change_what_they_name_alone(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    for (kind, value) in [(SpaceKind::Blocked, "v"), (SpaceKind::DeadLetterState, "")] {
        let (one, other, empty) = (Space::within(kind, "1"), Space::within(kind, "2"), Space::of(kind));
        let mut transaction = Transaction::new();
        for space in [&one, &other, &empty] {
            transaction.put(space.row("a"), value).put(space.row("b"), value).put(space.row("c"), value);
        }
        bench.commit_ok(&transaction).await;
        let mut transaction = Transaction::new();
        let again = if value.is_empty() { "" } else { "w" };
        transaction.put(one.row("b"), again).delete(one.row("a")).delete(one.row("absent"));
        transaction.clear(empty.clone()).clear(Space::within(kind, "absent"));
        assert!(!transaction.is_empty());
        bench.commit_ok(&transaction).await;
        assert_eq!(texts(&bench.rows(&one).await), [("b", again), ("c", value)], "{kind:?}");
        assert_eq!(texts(&bench.rows(&other).await), [("a", value), ("b", value), ("c", value)], "{kind:?}");
        assert_eq!(bench.rows(&empty).await, [], "{kind:?}");
        let reads = [&one, &other, &empty].map(|space| Read::Count(space.clone()));
        let mut answers = bench.engine.get(bench.partition, &reads).await.unwrap();
        assert_eq!([answers.count(), answers.count(), answers.count()], [2, 3, 0], "{kind:?}");
    }
}

/// A transaction performs its writes in order. A clear or a delete removes rows that were put before it, and later rows
/// stay.
pub async fn rows_that_are_put_after_a_clear_stay(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    for (kind, value) in [(SpaceKind::Lane, "v"), (SpaceKind::DeadLetterState, "")] {
        let space = Space::within(kind, "s");
        let mut transaction = Transaction::new();
        transaction.put(space.row("old"), value);
        bench.commit_ok(&transaction).await;
        let mut transaction = Transaction::new();
        transaction.put(space.row("before"), value).clear(space.clone()).put(space.row("after"), value);
        transaction.step();
        transaction.put(space.row("later"), value).put(space.row("gone"), value).delete(space.row("gone"));
        bench.commit_ok(&transaction).await;
        assert_eq!(texts(&bench.rows(&space).await), [("after", value), ("later", value)], "{kind:?}");
        let mut clear = Transaction::new();
        clear.clear(space.clone());
        let mut put = Transaction::new();
        put.put(space.row("next"), value);
        let outcomes = bench.commit_all(&[clear, put]).await;
        assert!(outcomes.iter().all(domain::ports::engine::Outcome::is_done), "{outcomes:?}");
        assert_eq!(texts(&bench.rows(&space).await), [("next", value)], "{kind:?}");
    }
}

/// Keys and scopes stay distinct with zero bytes, 255, separators, braces, empty names and very long names.
pub async fn odd_keys_and_scopes_never_collide(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let names = odd_keys();
    for kind in [SpaceKind::Blocked, SpaceKind::DeadLetterState] {
        let mut expected: BTreeMap<Vec<u8>, Vec<Pair>> = BTreeMap::new();
        for (n, scope) in names.iter().enumerate() {
            let mut transaction = Transaction::new();
            // Each scope has two keys, and neighbouring scopes have different pairs.
            let keys = [&names[n], &names[(n * 7 + 3) % names.len()]];
            for (m, key) in keys.into_iter().enumerate() {
                let value = if kind.is_index() { Vec::new() } else { format!("{n} {m}").into_bytes() };
                let rows = expected.entry(scope.clone()).or_default();
                rows.retain(|(other, _)| other != key);
                rows.push((key.clone(), value.clone()));
                rows.sort();
                transaction.put(Space::within(kind, scope.clone()).row(key.clone()), value);
            }
            bench.commit_ok(&transaction).await;
        }
        let emptied = names[11].clone();
        let mut transaction = Transaction::new();
        transaction.clear(Space::within(kind, emptied.clone()));
        bench.commit_ok(&transaction).await;
        expected.insert(emptied, Vec::new());
        for (scope, rows) in expected {
            let space = Space::within(kind, scope.clone());
            assert_eq!(bench.rows(&space).await, rows, "{kind:?} {scope:?}");
        }
    }
    // A value may also contain any bytes.
    let row = RowId::of(SpaceKind::Schema, "odd");
    let every: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let mut transaction = Transaction::new();
    transaction.put(row.clone(), every.clone());
    bench.commit_ok(&transaction).await;
    assert_eq!(bench.row(&row).await, Some(every));
}

/// The same scope and key name a separate row in each kind.
pub async fn every_kind_of_row_is_a_space_of_its_own(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let value = |kind: SpaceKind| if kind.is_index() { "" } else { kind.name() };
    for scope in ["", "s"] {
        let mut transaction = Transaction::new();
        for kind in SpaceKind::ALL {
            transaction.put(Space::within(*kind, scope).row("key"), value(*kind));
        }
        bench.commit_ok(&transaction).await;
    }
    let mut transaction = Transaction::new();
    for kind in SpaceKind::ALL.iter().step_by(3) {
        transaction.clear(Space::within(*kind, "s"));
    }
    bench.commit_ok(&transaction).await;
    for (n, kind) in SpaceKind::ALL.iter().enumerate() {
        let found = bench.rows(&Space::of(*kind)).await;
        assert_eq!(texts(&found), [("key", value(*kind))], "{kind:?}");
        let left = bench.rows(&Space::within(*kind, "s")).await.len();
        assert_eq!(left, usize::from(!n.is_multiple_of(3)), "{kind:?}");
    }
}

/// Each partition has separate rows and events.
pub async fn partitions_share_neither_rows_nor_events(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let (row, number) = (RowId::of(SpaceKind::Group, "g"), RowId::of(SpaceKind::Counter, "n"));
    for partition in 0..bench.partitions {
        let mut with = Transaction::new();
        with.put(row.clone(), format!("of {partition}")).add(number.clone(), 1);
        let batch = Draft::many(&format!("p{partition}"), 2);
        bench.engine.append(partition, &batch, Atomicity::Each, &with).await.unwrap();
        let outcomes = bench.engine.commit(partition, &[with]).await.unwrap();
        assert!(outcomes[0].is_done(), "{outcomes:?}");
    }
    let other = bench.storage.open().await;
    for partition in 0..bench.partitions {
        let reads =
            [Read::Row(row.clone()), Read::Row(number.clone()), Read::Count(Space::of(SpaceKind::Group))];
        let mut answers = other.get(partition, &reads).await.unwrap();
        assert_eq!(answers.row(), Some(format!("of {partition}").into_bytes()));
        assert_eq!((answers.row(), answers.count()), (Some(b"2".to_vec()), 1));
        assert_eq!(other.state(partition).await.unwrap().events, 2);
        for asked in 0..bench.partitions {
            let known = other.locate(partition, &[&format!("p{asked}-0")]).await.unwrap();
            assert_eq!(known[0].is_some(), asked == partition, "p{asked} in {partition}");
        }
    }
}

/// A durable transaction survives after every handle is closed and the storage is restarted.
pub async fn durable_transactions_survive_the_last_handle(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let (row, index) = (RowId::of(SpaceKind::Group, "g"), Space::of(SpaceKind::ReplayOrder));
    let mut transaction = Transaction::durable();
    transaction.put(row.clone(), "kept").list(index.row("i")).add(RowId::of(SpaceKind::Counter, "n"), 4);
    transaction.write(domain::ports::engine::Write::Tombstone("gone".to_owned()));
    bench.commit_ok(&transaction).await;
    let bench = bench.reopened().await;
    assert_eq!(bench.text(&row).await.as_deref(), Some("kept"));
    assert_eq!(texts(&bench.rows(&index).await), [("i", "")]);
    assert_eq!(bench.text(&RowId::of(SpaceKind::Counter, "n")).await.as_deref(), Some("4"));
    let outcomes = bench.append(&[Draft::new("gone").event()]).await;
    assert_eq!(outcomes, [domain::ports::AppendOutcome::Erased]);
}
