//! Laws of reading the log.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use domain::{
    Entity, Event, Filter, Position, TypePattern,
    ports::{
        Atomicity, Order,
        engine::{IdState, RemovalKind, Scan, StorageEngine, Transaction},
    },
};

use super::sequence_of;
use crate::{Draft, EngineBench, EngineHarness, engine_harness::scan};

/// A time longer than any law.
const LONG: Duration = Duration::from_secs(20);

/// Stores twelve events of two users, three types and three correlation ids. Returns their sequences.
async fn twelve(bench: &EngineBench) -> Vec<u64> {
    let event = |n: usize| {
        let draft = Draft::new(&format!("e{n}"))
            .of_type(["user.registered", "user.profile.updated", "lab.created"][n % 3])
            .with("userId", format!("u{}", n / 6))
            .with("source", ["s0", "s1"][n % 2])
            .at(&format!("2024-01-15T10:30:{:02}Z", 59 - n));
        let draft =
            if n.is_multiple_of(4) { draft } else { draft.with("correlationId", format!("c{}", n % 4)) };
        draft.event()
    };
    bench.store(&(0..12).map(event).collect::<Vec<Event>>()).await
}

fn filters() -> Vec<Filter> {
    let types = vec![TypePattern::new("user.*")];
    let texts = |texts: &[&str]| texts.iter().copied().map(str::to_owned).collect::<BTreeSet<String>>();
    vec![
        Filter::default(),
        Filter { types, ..Filter::default() },
        Filter { sources: texts(&["s1"]), ..Filter::default() },
        Filter { correlation_ids: texts(&["c1", "c3"]), ..Filter::default() },
        Filter { event_ids: texts(&["e2", "e11", "absent"]).into_iter().collect(), ..Filter::default() },
        Filter::of_entity(Entity::new("user", "u1")),
        Filter { sources: texts(&["s0"]), ..Filter::of_entity(Entity::new("user", "u0")) },
        Filter {
            from: Some("2024-01-15T10:30:50Z".parse().unwrap()),
            to: Some("2024-01-15T10:30:55Z".parse().unwrap()),
            ..Filter::default()
        },
        Filter::correlation("nothing"),
    ]
}

/// In both orders and for every page size, a scan returns exactly the matching events, each once.
pub async fn scan_gives_each_match_once_at_every_page_size(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    twelve(&bench).await;
    let all = bench.log().await;
    assert_eq!(all.len(), 12);
    for filter in filters() {
        let matching = all.iter().filter(|entry| filter.matches(&entry.as_ref().unwrap().event));
        let mut expected: Vec<u64> = matching.map(sequence_of).collect();
        for order in [Order::OldestFirst, Order::NewestFirst] {
            for limit in [1, 2, 3, 5, 11, 12, 100] {
                let found = bench.scan(filter.clone(), order, limit).await;
                let found: Vec<u64> = found.iter().map(sequence_of).collect();
                assert_eq!(found, expected, "{filter:?} {order:?} in pages of {limit}");
            }
            expected.reverse();
        }
    }
}

/// A scan continues behind a sequence in its order. It returns no event above its upper bound, in either order.
pub async fn scan_keeps_to_its_bounds(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let sequences = twelve(&bench).await;
    let filter = Arc::new(Filter::of_entity(Entity::new("user", "u1")));
    let everything = Arc::new(Filter::default());
    let found = async |filter, order, after, until| {
        let found = scan(&*bench.engine, bench.partition, filter, order, after, until, 2).await;
        found.iter().map(sequence_of).collect::<Vec<u64>>()
    };
    for (filter, first) in [(&everything, 0), (&filter, 6)] {
        let all = &sequences[first..];
        for at in sequences.iter().copied().chain([0, u64::MAX / 4]) {
            let newer: Vec<u64> = all.iter().copied().filter(|sequence| *sequence > at).collect();
            assert_eq!(found(filter, Order::OldestFirst, Some(at), None).await, newer, "after {at}");
            let mut older: Vec<u64> = all.iter().copied().filter(|sequence| *sequence < at).collect();
            older.reverse();
            assert_eq!(found(filter, Order::NewestFirst, Some(at), None).await, older, "before {at}");
            let mut within: Vec<u64> = all.iter().copied().filter(|sequence| *sequence <= at).collect();
            assert_eq!(found(filter, Order::OldestFirst, None, Some(at)).await, within, "until {at}");
            within.reverse();
            assert_eq!(found(filter, Order::NewestFirst, None, Some(at)).await, within, "from {at} back");
        }
        let (after, until) = (Some(sequences[7]), Some(sequences[9]));
        assert_eq!(found(filter, Order::OldestFirst, after, until).await, sequences[8..10]);
    }
}

/// A page ends when its events reach the requested number of bytes. It contains at least one event.
pub async fn scan_ends_a_page_at_its_bytes(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let events = Draft::many("e", 4);
    bench.store(&events).await;
    let filter = Arc::new(Filter::default());
    let size = events[0].size_bytes() as u64;
    for (max_bytes, expected) in [(1, 1), (size, 1), (size + 1, 2), (3 * size, 3)] {
        let order = Order::OldestFirst;
        let request = Scan { filter: &filter, order, after: None, until: None, limit: 10, max_bytes };
        let page = bench.engine.scan(bench.partition, &request).await.unwrap();
        assert_eq!(page.entries.len(), expected, "{max_bytes} bytes, with events of {size}");
        assert!(page.next.is_some());
    }
}

/// A page contains the state of its partition.
pub async fn scan_tells_the_state_of_the_partition(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let filter = Arc::new(Filter::default());
    let tells_the_state = async |when| {
        let order = Order::OldestFirst;
        let request =
            Scan { filter: &filter, order, after: None, until: None, limit: 2, max_bytes: u64::MAX };
        let page = bench.engine.scan(bench.partition, &request).await.unwrap();
        assert_eq!(page.state, bench.state().await, "{when}");
    };
    tells_the_state("empty").await;
    twelve(&bench).await;
    bench.clock.advance(Duration::from_secs(1));
    tells_the_state("after an append").await;
    let log = bench.log().await;
    bench.remove(&log[..2], RemovalKind::Oldest, &Transaction::new()).await;
    tells_the_state("after a removal").await;
}

/// During appends, a complete page contains every event up to the head of its state.
pub async fn scan_misses_nothing_that_its_state_counts(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let partition = bench.partition;
    let mut writers = Vec::new();
    for (writer, engine) in bench.handles(4).await.into_iter().enumerate() {
        writers.push(tokio::spawn(async move {
            for n in 0..25 {
                let batch = Draft::many(&format!("w{writer}-{n}"), 2);
                engine.append(partition, &batch, Atomicity::Each, &Transaction::new()).await.unwrap();
            }
        }));
    }
    let filter = Arc::new(Filter::default());
    let mut seen: Vec<(u64, Vec<u64>)> = Vec::new();
    loop {
        let are_done = writers.iter().all(tokio::task::JoinHandle::is_finished);
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let request =
                Scan { filter: &filter, order, after: None, until: None, limit: 1_000, max_bytes: u64::MAX };
            let page = bench.engine.scan(partition, &request).await.unwrap();
            assert_eq!(page.next, None, "it is complete");
            seen.push((page.state.head, page.entries.iter().map(sequence_of).collect()));
        }
        if are_done {
            break;
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let log: Vec<u64> = bench.log().await.iter().map(sequence_of).collect();
    assert_eq!(log.len(), 200);
    for (head, mut found) in seen {
        found.sort_unstable();
        found.retain(|sequence| *sequence <= head);
        let expected: Vec<u64> = log.iter().copied().filter(|sequence| *sequence <= head).collect();
        assert_eq!(found, expected, "up to {head}");
    }
}

/// `at` and scans report an event with damaged bytes as damaged, if a scan's filter may match the event. The other
/// events are returned.
pub async fn scan_gives_damaged_events_as_damaged(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let sequences = twelve(&bench).await;
    let Some(faults) = bench.storage.faults() else { return };
    let damaged = sequences[7];
    faults.damage_event(Position::new(bench.partition, damaged)).await;
    for filter in [Filter::default(), Filter::of_entity(Entity::new("user", "u1"))] {
        for (order, limit) in [(Order::OldestFirst, 100), (Order::NewestFirst, 2)] {
            let entries = bench.scan(filter.clone(), order, limit).await;
            let found: Vec<u64> = entries.iter().filter(|e| e.is_err()).map(sequence_of).collect();
            assert_eq!(found, [damaged], "{filter:?} {order:?}");
            let expected = if filter.is_everything() { 12 } else { 6 };
            assert_eq!(entries.len(), expected, "{filter:?} {order:?}");
        }
    }
    let at = bench.engine.at(bench.partition, &sequences[6..9]).await.unwrap();
    let are_damaged: Vec<bool> = at.iter().map(|entry| entry.as_ref().unwrap().is_err()).collect();
    assert_eq!(are_damaged, [false, true, false]);
}

/// `at` returns one result for each sequence, in the order of the request. The result is none if no event exists.
pub async fn at_answers_each_sequence_in_order(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let sequences = twelve(&bench).await;
    let log = bench.log().await;
    bench.remove(&log[..1], RemovalKind::Oldest, &Transaction::new()).await;
    let asked = [sequences[5], sequences[0], 0, sequences[11], u64::MAX / 4, sequences[1], sequences[5]];
    let found = bench.engine.at(bench.partition, &asked).await.unwrap();
    let found: Vec<Option<String>> = found
        .iter()
        .map(|entry| entry.as_ref().map(|entry| entry.as_ref().unwrap().event.id().to_owned()))
        .collect();
    let expected = [Some("e5"), None, None, Some("e11"), None, Some("e1"), Some("e5")];
    assert_eq!(found, expected.map(|id| id.map(str::to_owned)));
    assert!(bench.engine.at(bench.partition, &[]).await.unwrap().is_empty());
}

/// `locate` reports each id as stored with its sequence, as erased, or as unknown.
pub async fn locate_tells_stored_from_erased_and_unknown(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let sequences = twelve(&bench).await;
    let log = bench.log().await;
    bench.remove(&log[..1], RemovalKind::Oldest, &Transaction::new()).await;
    bench.remove(&log[4..5], RemovalKind::Erase, &Transaction::new()).await;
    let asked = ["e5", "absent", "e4", "e0", "e11", "e5", "E5", "e5 ", ""];
    let other = bench.storage.open().await;
    let known = other.locate(bench.partition, &asked).await.unwrap();
    let stored = |n: usize| Some(IdState::Stored(sequences[n]));
    let expected = [stored(5), None, Some(IdState::Erased), None, stored(11), stored(5), None, None, None];
    assert_eq!(known, expected);
}

/// For every filter and bound, `count` equals the number of events that scans return.
pub async fn count_equals_what_scans_give(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let sequences = twelve(&bench).await;
    let log = bench.log().await;
    bench.remove(&log[3..4], RemovalKind::Among, &Transaction::new()).await;
    for filter in filters() {
        let filter = Arc::new(filter);
        for until in sequences.iter().copied().chain([0, u64::MAX / 4]) {
            let order = Order::OldestFirst;
            let found = scan(&*bench.engine, bench.partition, &filter, order, None, Some(until), 5).await;
            let count = bench.engine.count(bench.partition, &filter, until).await.unwrap();
            assert_eq!(count, found.len() as u64, "{filter:?} until {until}");
        }
    }
}

async fn heads(engine: &dyn StorageEngine) -> Vec<u64> {
    let mut heads = Vec::new();
    for partition in 0..engine.info().partitions {
        heads.push(engine.state(partition).await.unwrap().head);
    }
    heads
}

/// A call returns immediately if the head of any partition is past the given one.
pub async fn changed_returns_at_once_where_the_head_is_past(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let before = heads(&*bench.engine).await;
    bench.store(&Draft::many("e", 1)).await;
    let changed = bench.engine.changed(&before, LONG);
    tokio::time::timeout(LONG / 2, changed).await.expect("it returns at once").unwrap();
}

/// A call returns after an append through its own handle or another, to any partition. It may return earlier, and the
/// caller then repeats it.
pub async fn changed_wakes_for_appends_of_other_handles(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let other = bench.storage.open().await;
    let writers = [("own", Arc::clone(&bench.engine)), ("other", other)];
    for (prefix, writer) in writers {
        for partition in 0..bench.partitions {
            let (engine, before) = (Arc::clone(&bench.engine), heads(&*bench.engine).await);
            let waiting = tokio::spawn(async move {
                while heads(&*engine).await == before {
                    engine.changed(&before, LONG).await.unwrap();
                }
            });
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!waiting.is_finished(), "nothing was appended yet");
            let batch = Draft::many(&format!("{prefix} {partition}"), 1);
            writer.append(partition, &batch, Atomicity::Each, &Transaction::new()).await.unwrap();
            let woken = tokio::time::timeout(LONG / 2, waiting).await;
            woken.unwrap_or_else(|_| panic!("not woken by the {prefix} handle")).unwrap();
        }
    }
}

/// A call returns at its timeout if no event is appended.
pub async fn changed_ends_at_its_timeout(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    bench.store(&Draft::many("e", 2)).await;
    let heads = heads(&*bench.engine).await;
    for timeout in [Duration::ZERO, Duration::from_millis(30)] {
        let changed = bench.engine.changed(&heads, timeout);
        tokio::time::timeout(LONG / 2, changed).await.expect("it ends").unwrap();
    }
}
