//! Laws of trimming and erasing.

use std::time::Duration;

use domain::{
    Checkpoint, Cursor, Entity, Event, Filter, TypePattern,
    ports::{
        AppendOutcome, Atomicity, Clock as _, Erased, EventStoreError, GroupHolds, ReplayRecord, TrimRequest,
        Trimmed,
    },
    retention::{Hold, RetentionRule},
};

use serde_json::{Map, Value};

use super::support::planned;
use crate::{Bench, Draft, Harness, json_of};

fn request(rule: RetentionRule) -> TrimRequest {
    TrimRequest { rule, holds: Vec::new(), limit: 1_000, dry_run: false, groups: GroupHolds::default() }
}

fn keep_newest(events: u64) -> RetentionRule {
    RetentionRule { max_events: Some(events), ..RetentionRule::default() }
}

/// Stores ten events, a minute apart, with types `a` and `b` in turn. Returns a cursor behind each event.
async fn ten(bench: &Bench) -> Vec<Cursor> {
    let mut marks = Vec::new();
    for n in 0..10 {
        bench.clock.advance(Duration::from_secs(60));
        let draft = Draft::new(&format!("e{n}")).of_type(["a", "b"][n % 2]);
        bench.store_all(&[draft.with("userId", format!("u{}", n % 3)).event()]).await;
        marks.push(bench.store.head().await.unwrap());
    }
    marks
}

fn ids(range: impl IntoIterator<Item = usize>) -> Vec<String> {
    range.into_iter().map(|n| format!("e{n}")).collect()
}

/// The age counts from the stored time, and the bound is exclusive. Limits by number and bytes keep the newest events.
/// A mark is inclusive.
pub async fn trim_removes_what_its_rule_says(h: &impl Harness) {
    for (name, left) in
        [("age", 6..10), ("count", 7..10), ("bytes", 7..10), ("through", 4..10), ("all", 10..10)]
    {
        let bench = Bench::new(h).await;
        let marks = ten(&bench).await;
        let size = Draft::new("e0").of_type("a").with("userId", "u0").event().size_bytes() as u64;
        let rule = match name {
            // e6 was stored exactly three minutes ago. The rule removes only older events.
            "age" => RetentionRule { max_age: Some(Duration::from_secs(180)), ..RetentionRule::default() },
            "count" => keep_newest(3),
            "bytes" => RetentionRule { max_bytes: Some(4 * size - 1), ..RetentionRule::default() },
            "through" => RetentionRule { through: Some(marks[3].clone()), ..RetentionRule::default() },
            _ => keep_newest(0),
        };
        let trimmed = bench.trim(&request(rule)).await;
        let gone = left.start as u64;
        let expected = Trimmed { events: gone, bytes: gone * size, more: false, held_by: None };
        assert_eq!(trimmed, expected, "by {name}");
        assert_eq!(bench.ids(Filter::default()).await, ids(left), "by {name}");
        bench.verify_is_clean().await;
    }
}

/// An event is removed if any bound of the rule applies. A second trim by the same rule removes nothing.
pub async fn trim_takes_its_bounds_as_alternatives(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let marks = ten(&bench).await;
    let rule = RetentionRule {
        max_age: Some(Duration::from_secs(8 * 60)),
        max_events: Some(6),
        max_bytes: Some(u64::MAX),
        through: Some(marks[1].clone()),
        ..RetentionRule::default()
    };
    assert_eq!(bench.trim(&request(rule.clone())).await.events, 4);
    assert_eq!(bench.ids(Filter::default()).await, ids(4..10));
    assert_eq!(bench.trim(&request(rule)).await, Trimmed::default());
}

/// A rule for some types counts and removes only events of these types.
pub async fn trim_by_type_leaves_other_types_alone(h: &impl Harness) {
    let bench = Bench::new(h).await;
    ten(&bench).await;
    bench.store_all(&[Draft::new("c").of_type("a.c").event()]).await;
    let of_type = |pattern: &str| RetentionRule { types: vec![TypePattern::new(pattern)], ..keep_newest(2) };
    assert_eq!(bench.trim(&request(of_type("a"))).await.events, 3);
    let mut left = ids([1, 3, 5, 6, 7, 8, 9]);
    left.push("c".to_owned());
    assert_eq!(bench.ids(Filter::default()).await, left);
    assert_eq!(bench.trim(&request(of_type("a*"))).await.events, 1, "e6, and not c, which is newest");
    bench.verify_is_clean().await;
}

/// No index contains a trimmed event, and its id is free again. Every index finds the remaining events.
pub async fn trim_removes_every_index_entry(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let marks = ten(&bench).await;
    bench.trim(&request(keep_newest(2))).await;
    for (filter, left) in [
        (Filter::default(), ids([8, 9])),
        (Filter { types: vec![TypePattern::new("a")], ..Filter::default() }, ids([8])),
        (Filter { types: vec![TypePattern::new("*")], ..Filter::default() }, ids([8, 9])),
        (Filter { sources: ["user-service".to_owned()].into(), ..Filter::default() }, ids([8, 9])),
        (Filter::of_entity(Entity::new("user", "u1")), ids([])),
        (Filter::of_entity(Entity::new("user", "u2")), ids([8])),
        (Filter { event_ids: ids(0..10).into_iter().collect(), ..Filter::default() }, ids([8, 9])),
        (Filter { from: Some("2024-01-01T00:00:00Z".parse().unwrap()), ..Filter::default() }, ids([8, 9])),
    ] {
        assert_eq!(bench.ids(filter.clone()).await, left, "{filter:?}");
        assert_eq!(bench.count(filter.clone()).await, left.len() as u64, "{filter:?}");
    }
    assert!(bench.store.get(&ids(0..8)).await.unwrap().is_empty());
    bench.verify_is_clean().await;
    let again = bench.store_all(&[Draft::new("e0").with("data", "other content").event()]).await;
    assert!(!marks[9].covers(again[0]), "{again:?} is after {:?}", marks[9]);
}

/// No event after the mark of any hold is removed. The result names the holder that kept the most events.
pub async fn trim_keeps_what_is_held(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let start = bench.store.head().await.unwrap();
    let marks = ten(&bench).await;
    let hold = |holder: &str, mark: &Cursor| Hold { holder: holder.to_owned(), mark: mark.clone() };
    let holds = vec![hold("job", &marks[7]), hold("checkpoint before-migration", &marks[2])];
    let held = TrimRequest { holds, ..request(keep_newest(0)) };
    let trimmed = bench.trim(&held).await;
    assert_eq!((trimmed.events, trimmed.more), (3, false));
    assert_eq!(trimmed.held_by.as_deref(), Some("checkpoint before-migration"));
    assert_eq!(bench.ids(Filter::default()).await, ids(3..10));
    // A hold is not named if it keeps no event that the rule would remove.
    let idle = TrimRequest { holds: vec![hold("job", &marks[4])], ..request(keep_newest(5)) };
    let trimmed = bench.trim(&idle).await;
    assert_eq!((trimmed.events, trimmed.held_by), (2, None));
    // A hold at the start of the log keeps all events.
    let all = TrimRequest { holds: vec![hold("plan", &start)], ..request(keep_newest(0)) };
    let trimmed = bench.trim(&all).await;
    assert_eq!((trimmed.events, trimmed.held_by.as_deref()), (0, Some("plan")));
    assert_eq!(bench.ids(Filter::default()).await, ids(5..10));
}

/// A checkpoint with a hold keeps the events after it without an entry in the request. The handle that saved it does
/// not matter. A checkpoint without a hold keeps nothing.
pub async fn trim_keeps_what_the_stores_own_checkpoints_hold(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let marks = ten(&bench).await;
    let other = bench.storage.open().await;
    for (name, mark, hold) in [("idle", 1, false), ("late", 7, true), ("early", 3, true)] {
        let checkpoint = Checkpoint {
            id: format!("id of {name}"),
            name: name.to_owned(),
            mark: marks[mark].clone(),
            last_processed_event_id: format!("e{mark}"),
            event_count: mark as u64 + 1,
            metadata: serde_json::Map::new(),
            created_at: bench.clock.now(),
            hold,
        };
        other.save_checkpoint(checkpoint, false).await.unwrap();
    }
    for dry_run in [true, false] {
        let trimmed = bench.trim(&TrimRequest { dry_run, ..request(keep_newest(0)) }).await;
        assert_eq!((trimmed.events, trimmed.held_by.as_deref()), (4, Some("checkpoint early")));
    }
    assert_eq!(bench.ids(Filter::default()).await, ids(4..10));
    other.delete_checkpoint("early").await.unwrap();
    let trimmed = bench.trim(&request(keep_newest(0))).await;
    assert_eq!((trimmed.events, trimmed.held_by.as_deref()), (4, Some("checkpoint late")));
}

/// Concurrent trims from several handles leave the same events as one trim.
pub async fn trims_at_once_remove_no_more_than_one(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let events: Vec<_> = (0..400).map(|n| Draft::new(&format!("e{n}")).event()).collect();
    bench.store_all(&events).await;
    let mut trims = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let store = bench.storage.open().await;
        trims.spawn(async move {
            while store.trim(&TrimRequest { limit: 7, ..request(keep_newest(300)) }).await.unwrap().more {}
        });
    }
    while let Some(trim) = trims.join_next().await {
        trim.unwrap();
    }
    assert_eq!(bench.ids(Filter::default()).await, ids(100..400));
    bench.verify_is_clean().await;
}

/// Any limit is accepted, however large.
pub async fn trim_takes_any_limit(h: &impl Harness) {
    let bench = Bench::new(h).await;
    ten(&bench).await;
    let trimmed = bench.trim(&TrimRequest { limit: usize::MAX, ..request(keep_newest(4)) }).await;
    assert_eq!((trimmed.events, trimmed.more), (6, false));
}

/// One call removes at most its limit, oldest first, and reports whether more events remain to be removed.
pub async fn trim_goes_in_bounded_steps_the_oldest_first(h: &impl Harness) {
    let bench = Bench::new(h).await;
    ten(&bench).await;
    let mut gone = 0;
    for (limit, expected, more) in [(3, 3, true), (0, 1, true), (2, 2, true), (2, 2, false), (2, 0, false)] {
        let trimmed = bench.trim(&TrimRequest { limit, ..request(keep_newest(2)) }).await;
        assert_eq!((trimmed.events, trimmed.more), (expected, more), "a limit of {limit} after {gone}");
        gone += expected as usize;
        assert_eq!(bench.ids(Filter::default()).await, ids(gone..10));
    }
}

/// A dry run changes nothing. In one call, it counts the events that all steps of the real run remove.
pub async fn trim_as_a_dry_run_counts_and_changes_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let marks = ten(&bench).await;
    let holds = vec![Hold { holder: "job".to_owned(), mark: marks[6].clone() }];
    let run = TrimRequest { limit: 2, holds, ..request(keep_newest(1)) };
    let before = (bench.store.info().await.unwrap(), bench.ids(Filter::default()).await);
    let promised = bench.trim(&TrimRequest { dry_run: true, ..run.clone() }).await;
    let after = (bench.store.info().await.unwrap(), bench.ids(Filter::default()).await);
    assert_eq!(after, before);
    let mut done = Trimmed { more: true, ..Trimmed::default() };
    while done.more {
        let step = bench.trim(&run).await;
        done = Trimmed { events: done.events + step.events, bytes: done.bytes + step.bytes, ..step };
    }
    assert_eq!(done, promised);
    assert_eq!((promised.events, promised.held_by.as_deref()), (7, Some("job")));
}

/// A rule without bounds removes nothing.
pub async fn trim_by_an_empty_rule_removes_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    ten(&bench).await;
    let of_a_type = RetentionRule { types: vec![TypePattern::new("*")], ..RetentionRule::default() };
    let no_age = RetentionRule { max_age: Some(Duration::MAX), ..RetentionRule::default() };
    for rule in [RetentionRule::default(), of_a_type, no_age] {
        assert_eq!(bench.trim(&request(rule)).await, Trimmed::default());
    }
    assert_eq!(bench.count(Filter::default()).await, 10);
}

/// A rule or a hold with a mark of another store is refused, and nothing is removed.
pub async fn trim_refuses_marks_of_another_store(h: &impl Harness) {
    let (bench, other) = (Bench::new(h).await, Bench::new(h).await);
    ten(&bench).await;
    let foreign = ten(&other).await[5].clone();
    let through = RetentionRule { through: Some(foreign.clone()), ..RetentionRule::default() };
    let holds = vec![Hold { holder: "job".to_owned(), mark: foreign }];
    for request in [request(through), TrimRequest { holds, ..request(keep_newest(0)) }] {
        let refusal = bench.store.trim(&request).await;
        assert!(matches!(refusal, Err(EventStoreError::ForeignCursor { .. })), "{refusal:?}");
    }
    assert_eq!(bench.count(Filter::default()).await, 10);
}

/// An erasure removes every event that names the entity from the log and all indexes. The other events stay.
pub async fn erase_removes_an_entity_from_every_index(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let event = |id: &str, user: &str, lab: &str| {
        Draft::new(id).with("userId", user).with("labId", lab).with("correlationId", "c").event()
    };
    // A lab with the same id is another entity.
    let events = [event("e0", "x", "l"), event("e1", "y", "x"), event("e2", "x", "x"), event("e3", "y", "l")];
    let positions = bench.store_all(&events).await;
    let erased = bench.erase("user", "x").await;
    assert_eq!(erased.events, 2);
    assert_eq!(erased.bytes, (events[0].size_bytes() + events[2].size_bytes()) as u64);
    for filter in [
        Filter::default(),
        Filter::correlation("c"),
        Filter { types: vec![TypePattern::new("user.registered")], ..Filter::default() },
        Filter { sources: ["user-service".to_owned()].into(), ..Filter::default() },
        Filter::of_entity(Entity::new("user", "y")),
        Filter { from: Some("2024-01-01T00:00:00Z".parse().unwrap()), ..Filter::default() },
    ] {
        assert_eq!(bench.ids(filter.clone()).await, ids([1, 3]), "{filter:?}");
        assert_eq!(bench.count(filter.clone()).await, 2, "{filter:?}");
    }
    assert_eq!(bench.count(Filter::of_entity(Entity::new("user", "x"))).await, 0);
    assert_eq!(bench.ids(Filter::of_entity(Entity::new("lab", "x"))).await, ids([1]));
    assert!(bench.store.get(&ids([0, 2])).await.unwrap().is_empty());
    assert!(bench.store.head().await.unwrap().covers(positions[3]));
    bench.verify_is_clean().await;
}

/// The ids of erased events are refused permanently, with any content and through every handle. Other ids are not.
pub async fn erase_refuses_the_ids_from_then_on(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let event = Draft::new("e0").with("userId", "x").event();
    bench.store_all(std::slice::from_ref(&event)).await;
    bench.erase("user", "x").await;
    let batch: [Event; 3] = [event, Draft::new("e0").event(), Draft::new("e1").with("userId", "x").event()];
    for store in [bench.store.clone(), bench.storage.open().await] {
        let outcomes = store.append(&batch[..2], Atomicity::Each).await.unwrap();
        assert_eq!(outcomes, [AppendOutcome::Erased; 2]);
    }
    let outcomes = bench.append(&batch).await;
    assert!(
        matches!(outcomes[..], [AppendOutcome::Erased, AppendOutcome::Erased, AppendOutcome::Stored(_)]),
        "{outcomes:?}"
    );
    assert_eq!(json_of(&bench.all(Filter::default()).await), [batch[2].json()]);
}

/// Erasing an entity without events changes nothing.
pub async fn erase_of_an_unknown_entity_changes_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&[Draft::new("e0").with("userId", "x").event()]).await;
    let before = bench.store.info().await.unwrap();
    for (kind, id) in [("user", "y"), ("lab", "x"), ("", ""), ("correlation", "x")] {
        let Erased { events, bytes, .. } = bench.erase(kind, id).await;
        assert_eq!((events, bytes), (0, 0), "{kind}={id}");
    }
    assert_eq!(bench.store.info().await.unwrap(), before);
    assert_eq!(bench.ids(Filter::default()).await, ["e0"]);
}

/// A checkpoint drops the id of an erased last event and keeps its mark. The result lists other data beside the log
/// that names the entity.
pub async fn erase_says_what_still_names_the_entity(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let events = ["erased", "kept"]
        .map(|id| Draft::new(id).with("userId", if id == "erased" { "user-124" } else { "user-9" }).event());
    bench.store_all(&events).await;
    let mark = bench.store.head().await.unwrap();
    let checkpoint = |name: &str, event: &str, note: &str| Checkpoint {
        id: format!("id of {name}"),
        name: name.to_owned(),
        mark: mark.clone(),
        last_processed_event_id: event.to_owned(),
        event_count: 2,
        metadata: Map::from_iter([("note".to_owned(), Value::from(note))]),
        created_at: bench.clock.now(),
        hold: false,
    };
    for saved in [
        checkpoint("marked-last", "erased", "before the move"),
        checkpoint("noted-by-it", "kept", "asked for by user-124"),
        checkpoint("noted-by-9", "kept", "asked for by user-1245"),
    ] {
        bench.store.save_checkpoint(saved, false).await.unwrap();
    }
    let replay = |id: &str, plan: &str| ReplayRecord { plan: plan.to_owned(), ..planned(&bench, id) };
    bench
        .store
        .create_replay(&replay("replay-of-it", r#"{"filter":{"entities":{"user":["user-124"]}}}"#))
        .await
        .unwrap();
    bench
        .store
        .create_replay(&replay("replay-of-9", r#"{"filter":{"entities":{"user":["user-9"]}}}"#))
        .await
        .unwrap();
    let erased = bench.erase("user", "user-124").await;
    let store = bench.storage.open().await;
    let found = store.find_checkpoint("marked-last").await.unwrap().unwrap();
    assert_eq!(
        found,
        Checkpoint {
            last_processed_event_id: String::new(),
            ..checkpoint("marked-last", "", "before the move")
        }
    );
    let kept = store.find_checkpoint("noted-by-9").await.unwrap().unwrap();
    assert_eq!(kept.last_processed_event_id, "kept");
    let remains = erased.remains.join("\n");
    assert!(remains.contains("noted-by-it") && remains.contains("checkpoints delete"), "{remains}");
    assert!(remains.contains("replay-of-it") && remains.contains("replays delete"), "{remains}");
    assert!(
        !remains.contains("replay-of-9")
            && !remains.contains("noted-by-9")
            && !remains.contains("marked-last"),
        "{remains}"
    );
    let other = bench.erase("user", "user-9").await.remains.join("\n");
    assert!(other.contains("replay-of-9") && !other.contains("noted-by-it"), "{other}");
}
