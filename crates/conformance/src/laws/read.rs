//! Laws of reading.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use domain::{
    Cursor, Event, Filter, Position, TypePattern,
    ports::{Clock as _, GroupHolds, Order, ReadRequest, TrimRequest},
    retention::RetentionRule,
};

use crate::{Bench, Draft, Harness, json_of, walk, walk_all};

/// Returns thirty events of three types in turn. Most have the same timestamp, and some are a year older.
fn mixed() -> Vec<Event> {
    let event = |n: usize| {
        let at = if n % 7 == 3 { "2023-01-15T10:30:00Z" } else { "2024-01-15T10:30:00Z" };
        Draft::new(&format!("e{n}")).of_type(["a", "b", "c"][n % 3]).at(at).event()
    };
    (0..30).map(event).collect()
}

/// For any page size, a read returns exactly the matching events, each once, in log order. A read in reverse order
/// returns the reverse. Equal timestamps and late events do not change this.
pub async fn read_returns_each_match_once_at_every_page_size(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let events = mixed();
    bench.store_all(&events).await;
    for filter in [
        Filter::default(),
        Filter { types: vec![TypePattern::new("b")], ..Filter::default() },
        Filter { to: Some("2023-12-31T00:00:00Z".parse().unwrap()), ..Filter::default() },
    ] {
        let mut expected: Vec<&str> =
            events.iter().filter(|event| filter.matches(event)).map(Event::json).collect();
        let filter = Arc::new(filter);
        for order in [Order::OldestFirst, Order::NewestFirst] {
            for limit in (1..=7).chain([29, 30, 31, 1_000]) {
                let read = walk(&*bench.store, &filter, order, limit, None).await;
                assert_eq!(json_of(&read), expected, "{filter:?} {order:?} in pages of {limit}");
            }
            expected.reverse();
        }
    }
}

/// A read in reverse order ends after some events. A read in log order from that place returns the same events.
pub async fn a_read_forth_from_where_a_read_back_ended_gives_the_same(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&mixed()).await;
    for filter in
        [Filter::default(), Filter { types: vec![TypePattern::new("b")], ..Filter::default() }].map(Arc::new)
    {
        for limit in 1..=31 {
            let back = ReadRequest { order: Order::NewestFirst, ..ReadRequest::new(filter.clone(), limit) };
            let mut page = bench.store.read(&back).await.unwrap();
            while page.events.len() < limit && page.next.is_some() {
                let limit = limit - page.events.len();
                let request = ReadRequest { after: page.next.clone(), limit, ..back.clone() };
                let more = bench.store.read(&request).await.unwrap();
                page.next = more.next;
                page.events.extend(more.events);
            }
            page.events.reverse();
            let begin = page.next.as_ref().map(Cursor::before);
            let mut forth = Vec::new();
            let mut request = ReadRequest { after: begin, ..ReadRequest::new(filter.clone(), 7) };
            loop {
                let next = bench.store.read(&request).await.unwrap();
                forth.extend(next.events);
                request.after = next.next;
                if request.after.is_none() {
                    break;
                }
            }
            assert_eq!(json_of(&forth), json_of(&page.events), "the last {limit} of {filter:?}");
        }
    }
}

/// A read without matching events is complete after one page.
pub async fn read_of_an_empty_store_is_one_empty_page(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let request = ReadRequest { order, ..ReadRequest::new(Filter::default(), 10) };
        let page = bench.store.read(&request).await.unwrap();
        assert!(page.events.is_empty() && page.corrupt.is_empty() && page.next.is_none(), "{page:?}");
    }
    let request = ReadRequest {
        after: Some(bench.store.head().await.unwrap()),
        ..ReadRequest::new(Filter::default(), 10)
    };
    assert_eq!(bench.store.read(&request).await.unwrap().next, None);
    assert_eq!(bench.count(Filter::default()).await, 0);
}

/// No read in either order returns events beyond the high-water mark, even if more events were appended.
pub async fn read_stops_at_its_mark(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let start = bench.store.head().await.unwrap();
    let early = Draft::many("early", 5);
    bench.store_all(&early).await;
    let mark = bench.store.head().await.unwrap();
    bench.store_all(&Draft::many("late", 5)).await;
    let mut expected: Vec<&str> = early.iter().map(Event::json).collect();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for limit in [1, 2, 5, 100] {
            let read = walk(&*bench.store, &Arc::default(), order, limit, Some(mark.clone())).await;
            assert_eq!(json_of(&read), expected, "{order:?} in pages of {limit}");
            let none = walk(&*bench.store, &Arc::default(), order, limit, Some(start.clone())).await;
            assert_eq!(json_of(&none), Vec::<&str>::new(), "{order:?} up to the start of the log");
        }
        expected.reverse();
    }
    // A read that starts behind the mark is already complete.
    let request = ReadRequest {
        after: Some(bench.store.head().await.unwrap()),
        until: Some(mark),
        ..ReadRequest::new(Filter::default(), 10)
    };
    let page = bench.store.read(&request).await.unwrap();
    assert!(page.events.is_empty() && page.next.is_none(), "{page:?}");
}

/// A read with a mark ends and returns each event once, even if others append and trim between its pages.
pub async fn read_ends_while_others_append_and_trim(h: &impl Harness) {
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let bench = Bench::new(h).await;
        bench.store_all(&Draft::many("e", 20)).await;
        let mark = bench.store.head().await.unwrap();
        let other = bench.storage.open().await;
        let rule = RetentionRule { max_events: Some(15), ..RetentionRule::default() };
        let trim =
            TrimRequest { rule, holds: Vec::new(), limit: 2, dry_run: false, groups: GroupHolds::default() };
        let mut request =
            ReadRequest { order, until: Some(mark.clone()), ..ReadRequest::new(Filter::default(), 3) };
        let mut seen = Vec::new();
        for turn in 0.. {
            assert!(turn < 100, "the read does not end");
            let page = bench.store.read(&request).await.unwrap();
            seen.extend(page.events.iter().map(|stored| stored.position));
            let Some(next) = page.next else { break };
            request.after = Some(next);
            other
                .append(&Draft::many(&format!("more-{turn}"), 3), domain::ports::Atomicity::Each)
                .await
                .unwrap();
            other.trim(&trim).await.unwrap();
        }
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len(), "each once: {seen:?}");
        assert!(seen.iter().all(|position| mark.covers(*position)), "{seen:?}");
        let still_there = bench.all(Filter::default()).await;
        let missed: Vec<_> = still_there
            .iter()
            .filter(|stored| mark.covers(stored.position) && !seen.contains(&stored.position))
            .collect();
        assert!(missed.is_empty(), "what was there all the time was seen: {missed:?}");
    }
}

/// A limit of 0 reads one event. The highest limit reads all events.
pub async fn read_takes_any_limit(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&Draft::many("e", 3)).await;
    for (limit, expected) in [(0, 1), (1, 1), (usize::MAX, 3)] {
        let page = bench.store.read(&ReadRequest::new(Filter::default(), limit)).await.unwrap();
        assert_eq!(page.events.len(), expected, "a limit of {limit}");
    }
}

/// A page reports an event with damaged bytes and returns the other events.
pub async fn read_reports_a_damaged_event_and_serves_the_rest(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let events = Draft::many("e", 5);
    let positions = bench.store_all(&events).await;
    let Some(faults) = bench.storage.faults() else { return bench.verify_is_clean().await };
    faults.damage_event(positions[2]).await;
    let mut expected: Vec<&str> = [0, 1, 3, 4].iter().map(|n| events[*n].json()).collect();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        for limit in [1, 2, 3, 100] {
            let (read, corrupt) = walk_all(&*bench.store, &Arc::default(), order, limit, None).await;
            assert_eq!(json_of(&read), expected, "{order:?} in pages of {limit}");
            let damaged: Vec<_> = corrupt.iter().map(|corrupt| corrupt.position).collect();
            assert_eq!(damaged, [positions[2]], "{order:?} in pages of {limit}");
            assert_ne!(corrupt[0].detail, "");
        }
        expected.reverse();
    }
    let others = ["e-0".to_owned(), "e-4".to_owned()];
    assert_eq!(bench.store.get(&others).await.unwrap().len(), 2);
}

/// `count` returns the number of events that a read up to the same mark returns.
pub async fn count_equals_what_a_read_returns(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let mut marks = vec![bench.store.head().await.unwrap()];
    for batch in mixed().chunks(7) {
        bench.store_all(batch).await;
        marks.push(bench.store.head().await.unwrap());
    }
    let in_2023 = Filter { to: Some("2023-12-31T00:00:00Z".parse().unwrap()), ..Filter::default() };
    let of_type = |types: &[&str]| Filter {
        types: types.iter().copied().map(TypePattern::new).collect(),
        ..Filter::default()
    };
    let both = Filter { to: in_2023.to, ..of_type(&["a", "b"]) };
    for filter in
        [Filter::default(), in_2023, of_type(&["a"]), of_type(&["b", "b", "*"]), of_type(&["x"]), both]
    {
        let filter = Arc::new(filter);
        for mark in marks.iter().map(Some).chain([None]) {
            let read = walk(&*bench.store, &filter, Order::OldestFirst, 4, mark.cloned()).await;
            let count = bench.store.count(&filter, mark).await.unwrap();
            assert_eq!(count, read.len() as u64, "{filter:?} up to {mark:?}");
        }
    }
}

/// `get` returns the existing events in the order of the ids.
pub async fn get_returns_events_in_the_order_of_the_ids(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = bench.store_all(&Draft::many("e", 5)).await;
    let ids = ["e-3", "absent", "e-0", "", "e-4"].map(str::to_owned);
    let read = bench.store.get(&ids).await.unwrap();
    let read: Vec<_> = read.iter().map(|stored| (stored.event.id(), stored.position)).collect();
    assert_eq!(read, [("e-3", positions[3]), ("e-0", positions[0]), ("e-4", positions[4])]);
    assert!(bench.store.get(&[]).await.unwrap().is_empty());
    let many: Vec<String> = (0..3_000).map(|n| format!("e-{}", 2_999 - n)).collect();
    let read = bench.store.get(&many).await.unwrap();
    let read: Vec<_> = read.iter().map(|stored| stored.event.id()).collect();
    assert_eq!(read, ["e-4", "e-3", "e-2", "e-1", "e-0"]);
}

/// `at` returns the existing events in the order of the positions, on one page, with their replay counts.
pub async fn at_returns_events_in_the_order_of_the_positions(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let events: Vec<Event> =
        (0..5).map(|n| Draft::new(&format!("e-{n}")).with("userId", format!("u{n}")).event()).collect();
    let positions = bench.store_all(&events).await;
    bench.store.record_replayed(&positions[..1], bench.clock.now()).await.unwrap();
    bench.erase("user", "u1").await;
    let nowhere = Position::new(bench.partitions, 1);
    let odd = [Position::new(0, 0), nowhere, Position::new(0, u64::MAX), Position::new(0, 6)];
    let asked = [&positions[3..], &odd, &positions[..2]].concat();
    let page = bench.storage.open().await.at(&asked).await.unwrap();
    let found: Vec<_> = page.events.iter().map(|it| (it.position, it.event.id(), it.replay_count)).collect();
    assert_eq!(found, [(positions[3], "e-3", 0), (positions[4], "e-4", 0), (positions[0], "e-0", 1)]);
    assert_eq!((page.corrupt.len(), page.next), (0, None));
    let of = |partition| (1..3_000).rev().map(move |sequence| Position::new(partition, sequence));
    let many: Vec<Position> = (0..bench.partitions).rev().flat_map(of).collect();
    let page = bench.store.at(&many).await.unwrap();
    assert_eq!(page.events.len(), 4);
    assert!(page.events.is_sorted_by(|one, other| one.position > other.position), "{page:?}");
    assert!(bench.store.at(&[]).await.unwrap().events.is_empty());
}

/// `at` reports a damaged event as damaged and returns the other events.
pub async fn at_reports_a_damaged_event_and_serves_the_rest(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = bench.store_all(&Draft::many("e", 3)).await;
    let Some(faults) = bench.storage.faults() else { return bench.verify_is_clean().await };
    faults.damage_event(positions[1]).await;
    let page = bench.store.at(&positions).await.unwrap();
    let found: Vec<_> = page.events.iter().map(|stored| stored.position).collect();
    assert_eq!(found, [positions[0], positions[2]]);
    assert_eq!(page.corrupt.iter().map(|it| it.position).collect::<Vec<_>>(), [positions[1]]);
    assert_ne!(page.corrupt[0].detail, "");
}

/// A time longer than any test. A call that waits this long returns a result that fails the test.
const LONG: Duration = Duration::from_secs(60);

/// `changed` does not wait if the head is already past the cursor.
pub async fn changed_answers_at_once_when_the_head_is_past(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let before = bench.store.head().await.unwrap();
    bench.store_all(&Draft::many("e", 2)).await;
    let head = bench.store.head().await.unwrap();
    let answered = bench.store.changed(&before, LONG * 60).await.unwrap();
    assert_eq!(answered, head);
}

/// `changed` returns after an append through the same handle or another.
pub async fn changed_wakes_for_appends_of_other_handles(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let other = bench.storage.open().await;
    for (writer, prefix) in [(&bench.store, "own"), (&other, "other")] {
        let before = bench.store.head().await.unwrap();
        let waiting = {
            let (store, before) = (bench.store.clone(), before.clone());
            tokio::spawn(async move { store.changed(&before, LONG).await })
        };
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished(), "nothing was appended yet");
        writer.append(&Draft::many(prefix, 1), domain::ports::Atomicity::Each).await.unwrap();
        let head = waiting.await.unwrap().unwrap();
        assert_ne!(head, before, "by the {prefix} handle");
    }
}

/// `changed` returns the unchanged head if no event is appended.
pub async fn changed_ends_at_its_timeout(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&Draft::many("e", 2)).await;
    let head = bench.store.head().await.unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(30)] {
        assert_eq!(bench.store.changed(&head, timeout).await.unwrap(), head);
    }
}
