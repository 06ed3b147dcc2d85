//! Laws of guarded writes.

use std::sync::Arc;

use domain::{
    Filter,
    expectation::NewerEvents,
    ports::{
        AppendOutcome, Atomicity, Clock as _,
        engine::{
            Appended, Guard, IdState, Outcome, Read, RemovalKind, RowId, Space, SpaceKind, Transaction, Write,
        },
    },
};
use jiff::Timestamp;

use super::sequence_of;
use crate::{Draft, EngineBench, EngineHarness};

const DONE: Outcome = Outcome::Done { left_out: Vec::new() };

fn row(key: &str) -> RowId {
    RowId::of(SpaceKind::Group, key)
}

fn number() -> RowId {
    RowId::of(SpaceKind::Counter, "n")
}

fn is(key: &str, value: &str) -> Guard {
    Guard::Is(row(key), value.as_bytes().to_vec())
}

/// Returns a transaction that puts a row if a guard holds.
fn put_if(guard: Guard, key: &str, value: &str) -> Transaction {
    let mut transaction = Transaction::new();
    transaction.guard(guard).put(row(key), value);
    transaction
}

/// Each transaction of a call sees the effects of the earlier transactions. A refused transaction does not stop the
/// later transactions.
pub async fn transactions_of_a_call_are_performed_in_order(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let transactions = [
        put_if(Guard::Absent(row("a")), "a", "1"),
        put_if(Guard::Absent(row("a")), "a", "2"),
        put_if(is("a", "1"), "a", "3"),
        put_if(is("a", "1"), "b", "4"),
        put_if(is("a", "3"), "b", "5"),
        Transaction::new(),
        Transaction::default(),
    ];
    let refused = Outcome::Refused { guard: 0 };
    let outcomes = bench.commit_all(&transactions).await;
    assert_eq!(outcomes, [DONE, refused.clone(), DONE, refused, DONE, DONE, DONE]);
    assert_eq!(bench.text(&row("a")).await.as_deref(), Some("3"));
    assert_eq!(bench.text(&row("b")).await.as_deref(), Some("5"));
    assert_eq!(bench.commit_all(&[]).await, []);
}

/// If a guard of the first step does not hold, no step is performed, and the outcome names the guard.
pub async fn a_refused_transaction_changes_nothing_and_names_its_guard(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let index = Space::of(SpaceKind::ReplayOrder);
    let sequence = bench.store(&Draft::many("e", 1)).await[0];
    let mut made = Transaction::new();
    made.put(row("a"), "1").list(index.row("i")).add(number(), 1);
    bench.commit_ok(&made).await;
    for guard in 0..3 {
        let mut guards = vec![is("a", "1"), Guard::Present(row("a")), Guard::Absent(row("b"))];
        guards[guard] = is("a", "2");
        let mut transaction = Transaction::durable();
        transaction.steps[0].guards = guards;
        transaction.put(row("a"), "9").put(row("b"), "9").delete(index.row("i")).add(number(), 9);
        transaction.clear(Space::of(SpaceKind::Group));
        transaction.write(Write::Tombstone("refused".to_owned()));
        transaction.write(Write::CountReplay { sequences: vec![sequence], at: bench.clock.now() });
        transaction.step();
        transaction.put(row("c"), "9").guard(is("a", "1"));
        assert_eq!(bench.commit(&transaction).await, Outcome::Refused { guard });
        assert_eq!(bench.rows(&Space::of(SpaceKind::Group)).await, [(b"a".to_vec(), b"1".to_vec())]);
        assert_eq!(bench.rows(&index).await.len(), 1);
        assert_eq!(bench.text(&number()).await.as_deref(), Some("1"));
        assert_eq!(bench.engine.locate(bench.partition, &["refused"]).await.unwrap(), [None]);
        assert_eq!(bench.log().await[0].as_ref().unwrap().replay_count, 0);
    }
}

/// A later step with a failing guard is left out completely and named. The other steps are performed.
pub async fn a_later_step_is_left_out_and_named(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let mut transaction = Transaction::new();
    transaction.put(row("a"), "1");
    transaction.step();
    transaction
        .guard(Guard::Present(row("a")))
        .guard(Guard::Present(row("absent")))
        .put(row("b"), "2")
        .add(number(), 1);
    transaction.step();
    transaction.guard(Guard::Absent(row("absent"))).put(row("c"), "3");
    transaction.step();
    transaction.guard(is("a", "9")).delete(row("a")).clear(Space::of(SpaceKind::Group));
    transaction.step();
    transaction.put(row("d"), "4");
    let outcomes = bench.commit_all(&[transaction, put_if(Guard::Absent(row("b")), "e", "5")]).await;
    assert_eq!(outcomes, [Outcome::Done { left_out: vec![1, 3] }, DONE]);
    let mut keys = Vec::new();
    for (key, _) in bench.rows(&Space::of(SpaceKind::Group)).await {
        keys.push(String::from_utf8(key).unwrap());
    }
    assert_eq!(keys, ["a", "c", "d", "e"]);
    assert_eq!(bench.row(&number()).await, None);
}

/// The guards of a step are evaluated after the writes of the earlier steps and before its own writes.
pub async fn guards_see_the_writes_of_earlier_steps(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let mut transaction = Transaction::new();
    // The writes of a step do not affect the guards of the same step.
    transaction.guard(Guard::Absent(row("a"))).put(row("a"), "1").add(number(), 41);
    transaction.step();
    transaction.guard(is("a", "1")).guard(Guard::Is(number(), b"41".to_vec()));
    transaction.put(row("a"), "2").add(number(), 1);
    transaction.step();
    transaction.guard(is("a", "1")).put(row("x"), "left out");
    transaction.step();
    transaction.guard(Guard::Is(number(), b"42".to_vec())).guard(Guard::Absent(row("x")));
    transaction.clear(Space::of(SpaceKind::Group)).write(Write::Tombstone("t".to_owned()));
    transaction.step();
    transaction.guard(Guard::Absent(row("a"))).guard(Guard::Id("t".to_owned(), Some(IdState::Erased)));
    transaction.put(row("last"), "5");
    assert_eq!(bench.commit(&transaction).await, Outcome::Done { left_out: vec![2] });
    assert_eq!(bench.rows(&Space::of(SpaceKind::Group)).await, [(b"last".to_vec(), b"5".to_vec())]);
    assert_eq!(bench.text(&number()).await.as_deref(), Some("42"));
}

async fn holds(bench: &EngineBench, guard: Guard) -> bool {
    // The guard is tested in the first step and in a later step. Both must give the same result.
    let mut first = Transaction::new();
    first.guard(guard.clone()).add(RowId::of(SpaceKind::Counter, "first"), 1);
    let mut later = Transaction::new();
    later.step();
    later.guard(guard.clone()).add(RowId::of(SpaceKind::Counter, "later"), 1);
    match &bench.commit_all(&[first, later]).await[..] {
        [Outcome::Done { left_out }, Outcome::Done { left_out: later }] => {
            assert!(left_out.is_empty() && later.is_empty(), "{guard:?}: {later:?}");
            true
        }
        [Outcome::Refused { guard: 0 }, Outcome::Done { left_out }] if *left_out == [1] => false,
        other => panic!("{guard:?}: {other:?}"),
    }
}

/// `Is` holds only for the value, `Present` for any value, and `Absent` for none. Other rows do not matter.
pub async fn guards_on_rows_hold_where_they_should(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let (index, scoped) = (Space::of(SpaceKind::ReplayOrder), Space::within(SpaceKind::Group, "s"));
    let odd = Space::within(SpaceKind::Blocked, "\0:{}").row(vec![0, 255, b':']);
    let mut made = Transaction::new();
    made.put(row("a"), "1").put(row("empty"), "").list(index.row("i")).put(scoped.row("b"), "2");
    made.put(odd.clone(), vec![0, 255]);
    bench.commit_ok(&made).await;
    let value = |row: &RowId, value: &[u8]| Guard::Is(row.clone(), value.to_vec());
    for (guard, expected) in [
        (value(&row("a"), b"1"), true),
        (value(&row("a"), b"2"), false),
        (value(&row("a"), b""), false),
        (value(&row("a"), b"1 "), false),
        (value(&row("a"), b"01"), false),
        (value(&row("b"), b"2"), false),
        (value(&row("b"), b""), false),
        (value(&scoped.row("b"), b"2"), true),
        (value(&row("empty"), b""), true),
        (value(&row("empty"), b"0"), false),
        (value(&odd, &[0, 255]), true),
        (value(&odd, &[0]), false),
        (Guard::Present(row("a")), true),
        (Guard::Present(row("empty")), true),
        (Guard::Present(row("b")), false),
        (Guard::Present(scoped.row("b")), true),
        (Guard::Present(scoped.row("a")), false),
        (Guard::Present(index.row("i")), true),
        (Guard::Present(index.row("j")), false),
        (Guard::Absent(row("a")), false),
        (Guard::Absent(row("empty")), false),
        (Guard::Absent(row("b")), true),
        (Guard::Absent(index.row("i")), false),
        (Guard::Absent(index.row("j")), true),
        (Guard::Absent(odd), false),
    ] {
        assert_eq!(holds(&bench, guard.clone()).await, expected, "{guard:?}");
    }
}

/// A guard on an id holds exactly for the id's state in the log: unknown, stored at this sequence, or erased.
pub async fn guards_on_ids_tell_all_three_states(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let sequences = bench.store(&Draft::many("e", 3)).await;
    let log = bench.log().await;
    bench.remove(&log[..1], RemovalKind::Oldest, &Transaction::new()).await;
    bench.remove(&log[1..2], RemovalKind::Erase, &Transaction::new()).await;
    let mut buried = Transaction::new();
    buried.write(Write::Tombstone("buried".to_owned()));
    bench.commit_ok(&buried).await;
    let states = [
        ("unknown", None),
        ("e-0", None),
        ("e-1", Some(IdState::Erased)),
        ("buried", Some(IdState::Erased)),
        ("e-2", Some(IdState::Stored(sequences[2]))),
    ];
    let mut asked: Vec<Option<IdState>> = vec![None, Some(IdState::Erased)];
    asked.extend(sequences.iter().map(|sequence| Some(IdState::Stored(*sequence))));
    for (id, state) in states {
        for asked in &asked {
            let guard = Guard::Id(id.to_owned(), *asked);
            assert_eq!(holds(&bench, guard.clone()).await, *asked == state, "{guard:?}");
        }
    }
    // A guard on an id is evaluated when its transaction is performed, also with an append.
    let mut with = Transaction::new();
    with.guard(Guard::Id("new".to_owned(), None)).add(number(), 1);
    let batch = [Draft::new("new").event()];
    let each = Atomicity::Each;
    let first = bench.append_with(&batch, each, &with).await;
    assert!(matches!(first, Appended::Done(_)), "{first:?}");
    let second = bench.append_with(&batch, each, &with).await;
    assert_eq!(second, Appended::Refused { guard: 0 });
    assert_eq!(bench.text(&number()).await.as_deref(), Some("1"));
}

/// A guard on the generation holds only for the generation that `state` returns.
pub async fn a_guard_on_the_generation_holds_for_it_alone(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let generation = bench.state().await.generation;
    for (asked, expected) in
        [(generation, true), (generation + 1, false), (generation - 1, false), (0, false)]
    {
        assert_eq!(holds(&bench, Guard::Generation(asked)).await, expected, "{asked} of {generation}");
    }
}

/// An absent row counts as 0, and a sum may be negative. The value is decimal text, which guards and puts can use.
pub async fn add_begins_at_0_and_goes_below_it(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let steps = [
        (5, "5"),
        (-7, "-2"),
        (-3, "-5"),
        (5, "0"),
        (0, "0"),
        (1 << 40, "1099511627776"),
        (1, "1099511627777"),
    ];
    for (amount, expected) in steps {
        let mut transaction = Transaction::new();
        transaction.add(number(), amount);
        bench.commit_ok(&transaction).await;
        assert_eq!(bench.text(&number()).await.as_deref(), Some(expected), "after {amount}");
    }
    let mut transaction = Transaction::new();
    transaction.put(number(), "100").add(number(), 1).add(number(), 1);
    transaction.add(RowId::of(SpaceKind::Counter, "zero"), 0);
    transaction.add(Space::within(SpaceKind::Stat, "m").row("n"), -4);
    transaction.step();
    transaction.guard(Guard::Is(number(), b"102".to_vec())).add(number(), 1);
    bench.commit_ok(&transaction).await;
    assert_eq!(bench.text(&number()).await.as_deref(), Some("103"));
    assert_eq!(bench.text(&RowId::of(SpaceKind::Counter, "zero")).await.as_deref(), Some("0"));
    assert_eq!(bench.text(&Space::within(SpaceKind::Stat, "m").row("n")).await.as_deref(), Some("-4"));
}

/// Concurrent additions through eight handles lose nothing.
pub async fn add_loses_nothing_of_eight_adders(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let partition = bench.partition;
    let mut adders = Vec::new();
    for (adder, engine) in bench.handles(8).await.into_iter().enumerate() {
        adders.push(tokio::spawn(async move {
            for n in 0..25 {
                let mut transaction = Transaction::new();
                transaction.add(number(), 3).add(RowId::of(SpaceKind::Counter, "other"), -1);
                let twice = [transaction.clone(), transaction];
                let outcomes = engine.commit(partition, &twice).await.unwrap();
                assert_eq!(outcomes, [DONE, DONE], "{adder}: {n}");
            }
        }));
    }
    for adder in adders {
        adder.await.unwrap();
    }
    assert_eq!(bench.text(&number()).await.as_deref(), Some("1200"));
    assert_eq!(bench.text(&RowId::of(SpaceKind::Counter, "other")).await.as_deref(), Some("-400"));
}

/// If eight handles create an absent row at the same time, one succeeds. The others are refused.
pub async fn of_eight_guarded_puts_one_wins(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let partition = bench.partition;
    let handles = bench.handles(8).await;
    for round in 0..10 {
        let key = format!("k{round}");
        let barrier = Arc::new(tokio::sync::Barrier::new(8));
        let mut rivals = Vec::new();
        for (rival, engine) in handles.iter().cloned().enumerate() {
            let (key, barrier) = (key.clone(), Arc::clone(&barrier));
            rivals.push(tokio::spawn(async move {
                let mut transaction = put_if(Guard::Absent(row(&key)), &key, &rival.to_string());
                transaction.add(number(), 1);
                barrier.wait().await;
                engine.commit(partition, &[transaction]).await.unwrap().remove(0)
            }));
        }
        let mut winners = Vec::new();
        for (rival, task) in rivals.into_iter().enumerate() {
            match task.await.unwrap() {
                Outcome::Refused { guard: 0 } => {}
                outcome => {
                    assert_eq!(outcome, DONE);
                    winners.push(rival.to_string());
                }
            }
        }
        assert_eq!(winners.len(), 1, "{winners:?} made {key}");
        assert_eq!(bench.text(&row(&key)).await, winners.pop());
    }
    assert_eq!(bench.text(&number()).await.as_deref(), Some("10"));
}

/// Eight handles each read a number and put the next one if the number is unchanged. No number is missing or used
/// twice.
pub async fn eight_rivals_count_without_a_gap(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let partition = bench.partition;
    let mut rivals = Vec::new();
    for (rival, engine) in bench.handles(8).await.into_iter().enumerate() {
        rivals.push(tokio::spawn(async move {
            let mut taken = 0;
            while taken < 10 {
                let read = [Read::Row(row("next"))];
                let value = engine.get(partition, &read).await.unwrap().row();
                let next = match &value {
                    Some(value) => String::from_utf8(value.clone()).unwrap().parse::<u64>().unwrap(),
                    None => 0,
                };
                let mut transaction = Transaction::new();
                transaction.guard(Guard::still(row("next"), value.as_deref()));
                transaction.put(row("next"), (next + 1).to_string());
                transaction.put(
                    Space::within(SpaceKind::Lane, "taken").row(format!("{next:04}")),
                    rival.to_string(),
                );
                taken += u64::from(engine.commit(partition, &[transaction]).await.unwrap()[0].is_done());
            }
        }));
    }
    for rival in rivals {
        rival.await.unwrap();
    }
    assert_eq!(bench.text(&row("next")).await.as_deref(), Some("80"));
    let taken = bench.rows(&Space::within(SpaceKind::Lane, "taken")).await;
    let numbers: Vec<Vec<u8>> = taken.iter().map(|(number, _)| number.clone()).collect();
    assert_eq!(numbers, (0..80).map(|n| format!("{n:04}").into_bytes()).collect::<Vec<_>>());
    for rival in 0..8 {
        let own = taken.iter().filter(|(_, by)| *by == rival.to_string().into_bytes()).count();
        assert_eq!(own, 10, "of {rival}");
    }
}

/// An id with a tombstone is reported as erased, and every append of it is refused.
pub async fn a_tombstone_refuses_its_id(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let mut transaction = Transaction::durable();
    transaction.erases = true;
    transaction.write(Write::Tombstone("odd \0:{}".to_owned())).write(Write::Tombstone("t".to_owned()));
    bench.commit_ok(&transaction).await;
    bench.commit_ok(&transaction).await;
    let asked = ["t", "odd \0:{}", "odd \0:{", "T"];
    let known = bench.storage.open().await.locate(bench.partition, &asked).await.unwrap();
    assert_eq!(known, [Some(IdState::Erased), Some(IdState::Erased), None, None]);
    let outcomes = bench.append(&[Draft::new("t").event(), Draft::new("other").event()]).await;
    assert!(matches!(outcomes[..], [AppendOutcome::Erased, AppendOutcome::Stored(_)]), "{outcomes:?}");
    assert_eq!(bench.ids().await, ["other"]);
    let report = bench.engine.verify(bench.partition, &|_| {}).await.unwrap();
    assert_eq!((report.total_findings, report.events), (0, 1), "{report:?}");
}

/// A write raises the replay count of each sequence by one, even if it names the sequence twice. A sequence without an
/// event has no effect.
pub async fn replay_counts_rise_once_for_each_sequence(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let sequences = bench.store(&Draft::many("e", 4)).await;
    let log = bench.log().await;
    bench.remove(&log[..1], RemovalKind::Oldest, &Transaction::new()).await;
    let count = |of: &[u64], at: Timestamp| Write::CountReplay { sequences: of.to_vec(), at };
    let first = bench.clock.now();
    let later: Timestamp = "2024-06-01T13:00:00.123456789Z".parse().unwrap();
    let mut transaction = Transaction::new();
    let of = [sequences[2], sequences[0], u64::MAX / 4, sequences[1], sequences[2]];
    transaction.write(count(&of, first));
    bench.commit_ok(&transaction).await;
    // Two writes count as two replays.
    let mut twice = Transaction::new();
    twice.write(count(&sequences[2..3], first)).write(count(&sequences[2..3], later));
    bench.commit_ok(&twice).await;
    let counts = bench.log().await;
    let counts: Vec<_> = counts
        .iter()
        .map(|entry| {
            (sequence_of(entry), entry.as_ref().unwrap().replay_count, entry.as_ref().unwrap().last_replay_at)
        })
        .collect();
    let expected = [(sequences[1], 1, Some(first)), (sequences[2], 3, Some(later)), (sequences[3], 0, None)];
    assert_eq!(counts, expected);
    let at = bench.storage.open().await.at(bench.partition, &sequences[2..3]).await.unwrap();
    assert_eq!(at[0].as_ref().unwrap().as_ref().unwrap().replay_count, 3);
    let known = bench.engine.locate(bench.partition, &["e-0"]).await.unwrap();
    assert_eq!((known, bench.state().await.events), (vec![None], 3));
}

/// The guard fails for a matching newer event at any place among other events. It holds if no newer event matches.
pub async fn a_guard_on_newer_events_never_overlooks_one(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let of_ann = |id: &str| Draft::new(id).of_type("order.placed").with("userId", "ann").event();
    let newer = |filter: Filter, after: u64| {
        Guard::NoneNewer(NewerEvents { filter: Arc::new(filter), key: None, after })
    };
    let filters = [
        Filter::default().entity("user", "ann"),
        Filter::types(["order.placed"]),
        Filter::types(["order.*"]),
        Filter::types(["order.placed"]).entity("user", "ann").entity("home", "h4"),
        Filter { event_ids: ["ann-1".to_owned()].into(), ..Filter::default() },
        Filter::default(),
    ];
    for filter in &filters {
        assert!(holds(&bench, newer(filter.clone(), 0)).await, "an empty log has no newer event");
    }
    let before = *bench.store(&Draft::many("e", 300)).await.last().expect("300 events");
    let (ann, last) = {
        let mut batch = Draft::many("f", 4);
        batch.insert(2, of_ann("ann-1"));
        let sequences = bench.store(&batch).await;
        (sequences[2], sequences[4])
    };
    for filter in &filters {
        for after in [0, before, ann - 1] {
            assert!(!holds(&bench, newer(filter.clone(), after)).await, "{filter:?} after {after}");
        }
        assert!(holds(&bench, newer(filter.clone(), last)).await, "{filter:?} after the last");
    }
    // With an append, the guard is evaluated before the batch is stored. Events of another key do not make it fail.
    let key = Some(of_ann("k").ordering_key().into());
    let own = Guard::NoneNewer(NewerEvents { filter: Arc::new(filters[0].clone()), key, after: last });
    let mut with = Transaction::new();
    with.guard(own).add(number(), 1);
    let each = Atomicity::AllOrNothing;
    let first = bench.append_with(&[of_ann("ann-2")], each, &with).await;
    assert!(matches!(first, Appended::Done(_)), "{first:?}");
    let mut with = Transaction::new();
    with.guard(newer(filters[0].clone(), last)).add(number(), 1);
    let second = bench.append_with(&[of_ann("ann-3")], each, &with).await;
    assert_eq!(second, Appended::Refused { guard: 0 });
    assert_eq!(bench.text(&number()).await.as_deref(), Some("1"));
    // A trimmed event may have matched, so the guard fails.
    let log = bench.log().await;
    bench.remove(&log[..1], RemovalKind::Oldest, &Transaction::new()).await;
    assert!(!holds(&bench, newer(Filter::types(["none.such"]), 0)).await);
}

/// Eight handles each append an event that excludes the others, behind the same head. One of them succeeds.
pub async fn of_eight_appends_that_exclude_each_other_one_wins(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let partition = bench.partition;
    let handles = bench.handles(8).await;
    for round in 0..10 {
        let after = bench.state().await.head;
        let barrier = Arc::new(tokio::sync::Barrier::new(8));
        let mut rivals = Vec::new();
        for (rival, engine) in handles.iter().cloned().enumerate() {
            let barrier = Arc::clone(&barrier);
            rivals.push(tokio::spawn(async move {
                let filter = Arc::new(Filter::default().entity("user", "ann"));
                let mut with = Transaction::durable();
                with.guard(Guard::NoneNewer(NewerEvents { filter, key: None, after }));
                let batch = [Draft::new(&format!("r{round}-{rival}")).with("userId", "ann").event()];
                barrier.wait().await;
                engine.append(partition, &batch, Atomicity::Each, &with).await.unwrap()
            }));
        }
        let mut winners = 0;
        for task in rivals {
            match task.await.unwrap() {
                Appended::Refused { guard: 0 } => {}
                Appended::Done(_) => winners += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(winners, 1, "in round {round}");
    }
    assert_eq!(bench.log().await.len(), 10);
}
