//! The rows of the engine: reads, guarded writes, and many callers at the same time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use domain::{
    StorageFailure,
    ports::engine::{Guard, Outcome, Read, RowId, Space, SpaceKind, Step, StorageEngine, Transaction, Write},
};
use event_replay_storage_sqlite::SqliteEngine;
use rusqlite::Connection;
use support::{engine, many, put};

const DONE: Outcome = Outcome::Done { left_out: Vec::new() };

fn row(key: impl Into<Vec<u8>>) -> RowId {
    Space::within(SpaceKind::Lane, "g").row(key)
}

fn writing(writes: impl IntoIterator<Item = Write>) -> Transaction {
    Transaction {
        steps: vec![Step { guards: Vec::new(), writes: writes.into_iter().collect() }],
        ..Transaction::new()
    }
}

async fn value(engine: &SqliteEngine, row: RowId) -> Option<Vec<u8>> {
    engine.get(0, &[Read::Row(row)]).await.unwrap().row()
}

async fn commit(engine: &SqliteEngine, transaction: Transaction) -> Outcome {
    engine.commit(0, &[transaction]).await.unwrap().remove(0)
}

#[tokio::test]
async fn rows_come_in_the_byte_order_of_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    let space = Space::within(SpaceKind::Lane, "g");
    let keys: [&[u8]; 6] = [b"\0", b"A", b"a", b"a\0b", b"\x7f", b"\xff\xfe"];
    let puts = keys.iter().rev().map(|key| Write::Put(space.row(*key), key.to_vec()));
    commit(&engine, writing(puts)).await;
    // Rows of another scope or another kind are outside the range.
    let others = [
        Space::within(SpaceKind::Lane, "g2"),
        Space::of(SpaceKind::Lane),
        Space::within(SpaceKind::Blocked, "g"),
    ];
    commit(&engine, writing(others.iter().map(|space| Write::Put(space.row("b"), Vec::new())))).await;
    let range = |after: Option<&[u8]>, before: Option<&[u8]>, reverse, limit| Read::Range {
        space: space.clone(),
        after: after.map(<[u8]>::to_vec),
        before: before.map(<[u8]>::to_vec),
        reverse,
        limit,
    };
    for (read, expected) in [
        (Read::all(space.clone()), vec![0, 1, 2, 3, 4, 5]),
        (Read::first(space.clone(), 2), vec![0, 1]),
        (range(None, None, true, 2), vec![5, 4]),
        (range(Some(b"A"), None, false, 3), vec![2, 3, 4]),
        (range(None, Some(b"a"), true, 9), vec![1, 0]),
        (range(Some(b"A"), Some(b"\x7f"), false, 9), vec![2, 3]),
        (range(Some(b"\xff\xfe"), None, false, 9), vec![]),
    ] {
        let found = engine.get(0, std::slice::from_ref(&read)).await.unwrap().range();
        let expected: Vec<_> =
            expected.into_iter().map(|n: usize| (keys[n].to_vec(), keys[n].to_vec())).collect();
        assert_eq!(found, expected, "{read:?}");
    }
    let mut several = engine
        .get(
            0,
            &[
                Read::Count(space.clone()),
                Read::Row(space.row("a")),
                Read::Row(space.row("b")),
                Read::Count(Space::of(SpaceKind::Group)),
            ],
        )
        .await
        .unwrap();
    assert_eq!(several.count(), 6);
    assert_eq!((several.row(), several.row(), several.count()), (Some(b"a".to_vec()), None, 0));
    commit(&engine, writing([Write::Clear(space.clone()), Write::Put(space.row("new"), Vec::new())])).await;
    assert_eq!(engine.get(0, &[Read::all(space)]).await.unwrap().range(), [(b"new".to_vec(), Vec::new())]);
    assert_eq!(engine.get(0, &[Read::Count(others[0].clone())]).await.unwrap().count(), 1);
}

#[tokio::test]
async fn values_come_back_as_they_are_and_text_is_text() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    for (n, value_put) in ["", "{\"a\":1}", "a\0b", "ü"].iter().enumerate() {
        commit(&engine, writing([Write::Put(row(format!("{n}")), value_put.as_bytes().to_vec())])).await;
        assert_eq!(value(&engine, row(format!("{n}"))).await.unwrap(), value_put.as_bytes());
    }
    commit(&engine, writing([Write::Put(row("blob"), vec![0xff, 0, 1])])).await;
    assert_eq!(value(&engine, row("blob")).await.unwrap(), [0xff, 0, 1]);
    let connection = Connection::open(engine.path()).unwrap();
    let types = "SELECT group_concat(typeof(value)) FROM (SELECT value FROM row ORDER BY key)";
    let types: String = connection.query_row(types, [], |row| row.get(0)).unwrap();
    assert_eq!(types, "text,text,text,text,blob");
}

#[tokio::test]
async fn guards_decide_on_the_whole_or_on_their_step() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    commit(&engine, writing([Write::Put(row("a"), b"1".to_vec())])).await;
    for (guard, holds) in [
        (Guard::Is(row("a"), b"1".to_vec()), true),
        (Guard::Is(row("a"), b"2".to_vec()), false),
        (Guard::Is(row("b"), Vec::new()), false),
        (Guard::Absent(row("a")), false),
        (Guard::Absent(row("b")), true),
        (Guard::Present(row("a")), true),
        (Guard::Present(row("b")), false),
        (Guard::Generation(1), true),
        (Guard::Generation(2), false),
        (Guard::Id("e0".into(), None), true),
    ] {
        let mut transaction = Transaction::new();
        transaction.guard(Guard::Generation(1)).guard(guard.clone()).add(row("n"), 1);
        let expected = if holds { DONE } else { Outcome::Refused { guard: 1 } };
        assert_eq!(commit(&engine, transaction).await, expected, "{guard:?}");
    }
    assert_eq!(value(&engine, row("n")).await.as_deref(), Some(b"5".as_slice()));

    let mut transaction = Transaction::new();
    transaction.delete(row("a")).put(row("b"), "2");
    transaction.step();
    transaction.guard(Guard::Present(row("a"))).put(row("c"), "3");
    transaction.step();
    transaction.guard(Guard::Is(row("b"), b"2".to_vec())).put(row("d"), "4");
    assert_eq!(commit(&engine, transaction).await, Outcome::Done { left_out: vec![1] });
    assert_eq!(value(&engine, row("c")).await, None);
    assert_eq!(value(&engine, row("d")).await.as_deref(), Some(b"4".as_slice()));
}

#[tokio::test]
async fn transactions_of_one_call_see_those_before_them() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    let mut first = Transaction::new();
    first.guard(Guard::Absent(row("a"))).put(row("a"), "1");
    let mut after = Transaction::durable();
    after.guard(Guard::Is(row("a"), b"1".to_vec())).put(row("a"), "2");
    let outcomes = engine.commit(0, &[first.clone(), first, after]).await.unwrap();
    assert_eq!(outcomes, [DONE, Outcome::Refused { guard: 0 }, DONE]);
    assert_eq!(engine.commit(0, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_number_stays_within_64_bits() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    for (amount, expected) in [(5, 5), (-7, -2), (i64::MAX, i64::MAX - 2), (i64::MAX, i64::MAX)] {
        commit(&engine, writing([Write::Add(row("n"), amount)])).await;
        assert_eq!(value(&engine, row("n")).await, Some(expected.to_string().into_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_on_two_handles_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let handles = [engine(&folder).await, engine(&folder).await];
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16 {
        let engine = handles[caller % 2].clone();
        callers.spawn(async move {
            for n in 0..20 {
                let mut transaction = if n % 5 == 0 { Transaction::durable() } else { Transaction::new() };
                transaction.add(row("sum"), 1).put(row(format!("{caller}")), format!("{n}"));
                assert_eq!(commit(&engine, transaction).await, DONE);
                if n % 4 == 0 {
                    put(&engine, &many(n + 1)).await;
                }
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.unwrap();
    }
    assert_eq!(value(&handles[0], row("sum")).await.as_deref(), Some(b"320".as_slice()));
    assert_eq!(handles[1].state(0).await.unwrap().events, 17);
    assert_eq!(handles[1].verify(0, &|_| {}).await.unwrap().findings, []);
}

/// Callers share commits. A damaged row fails only the call that reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_no_number_fails_its_own_call_alone() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(&folder).await;
    commit(&engine, writing([Write::Put(row("word"), b"word".to_vec())])).await;
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..200 {
        let engine = engine.clone();
        callers.spawn(async move {
            let key = if n % 10 == 0 { "word" } else { "sum" };
            (n, engine.commit(0, &[writing([Write::Add(row(key), 1)])]).await)
        });
    }
    while let Some(ended) = callers.join_next().await {
        match ended.unwrap() {
            (n, Err(StorageFailure::Corrupt(_))) if n % 10 == 0 => {}
            (n, Ok(outcomes)) if n % 10 != 0 => assert_eq!(outcomes, [DONE]),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(value(&engine, row("sum")).await.as_deref(), Some(b"180".as_slice()));
}

#[tokio::test]
async fn a_transaction_is_there_after_the_process_and_a_reader_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let writer = engine(&folder).await;
    commit(&writer, writing([Write::Put(row("a"), b"1".to_vec())])).await;
    let reader = SqliteEngine::open_read_only(support::options(&folder)).await.unwrap();
    assert_eq!(value(&reader, row("a")).await.as_deref(), Some(b"1".as_slice()));
    let refusal = reader.commit(0, &[writing([Write::Delete(row("a"))])]).await;
    assert!(matches!(refusal, Err(StorageFailure::Denied(_))), "{refusal:?}");
    writer.close().await;
    assert_eq!(value(&engine(&folder).await, row("a")).await.as_deref(), Some(b"1".as_slice()));
}
