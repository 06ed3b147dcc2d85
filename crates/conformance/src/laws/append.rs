//! Laws of appending.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use domain::{
    DeliveryOptions, Entity, Event, Filter, Priority, TypePattern,
    ordering::KeySource,
    ports::{AppendOutcome, Atomicity, Clock, GroupHolds, Order, TrimRequest},
    retention::RetentionRule,
};

use super::support::{in_order, rise};
use crate::{Bench, Draft, Harness, json_of, walk};

/// `append` returns one outcome for each event, in the order of the batch.
pub async fn append_answers_one_outcome_an_event_in_order(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let first = bench.store_all(&[Draft::new("a").event()]).await[0];
    let batch = [
        Draft::new("b").event(),
        Draft::new("a").event(),
        Draft::new("a").with("data", 1).event(),
        Draft::new("b").event(),
        Draft::new("c").event(),
    ];
    let outcomes = bench.append(&batch).await;
    let [AppendOutcome::Stored(b), again, conflict, repeat, AppendOutcome::Stored(c)] = outcomes[..] else {
        panic!("{outcomes:?}")
    };
    assert_eq!(again, AppendOutcome::AlreadyStored(first));
    assert_eq!(conflict, AppendOutcome::Conflict(first));
    assert_eq!(repeat, AppendOutcome::AlreadyStored(b));
    assert!(rise(&[first, b, c]), "{first} {b} {c}");
}

/// An empty batch has no outcomes and changes nothing.
pub async fn append_of_nothing_changes_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let before = bench.store.info().await.unwrap();
    for atomicity in [Atomicity::Each, Atomicity::AllOrNothing] {
        assert_eq!(bench.store.append(&[], atomicity).await, Ok(Vec::new()));
    }
    assert_eq!(bench.store.info().await.unwrap(), before);
}

/// The events of one call become visible in a partition at the same time, with all their index entries. A reader that
/// queries any index during writes of ten events each sees only whole batches.
pub async fn append_is_visible_at_once_with_all_index_entries(h: &impl Harness) {
    const BATCH: u64 = 10;
    let bench = Bench::new(h).await;
    let writer = bench.storage.open().await;
    let writing = tokio::spawn(async move {
        for batch in 0..20 {
            let events: Vec<Event> = (0..BATCH)
                .map(|n| {
                    let draft = Draft::new(&format!("{batch}-{n}"));
                    let event = draft.with("correlationId", "c").with("userId", "u").event();
                    event.with_key_source(KeySource::Entity(0))
                })
                .collect();
            writer.append(&events, Atomicity::Each).await.unwrap();
        }
    });
    let filters = every_way_to_find(Some("c"), Some(Entity::new("user", "u")));
    loop {
        let last_look = writing.is_finished();
        for filter in &filters {
            let seen = bench.store.count(filter, None).await.unwrap();
            assert_eq!(seen % BATCH, 0, "{filter:?} saw {seen} events");
        }
        let mark = bench.store.head().await.unwrap();
        let seen = walk(&*bench.store, &filters[0], Order::OldestFirst, 7, Some(mark)).await.len();
        assert_eq!(seen as u64 % BATCH, 0, "a walk saw {seen} events");
        if last_look {
            break;
        }
    }
    writing.await.unwrap();
    for filter in &filters {
        assert_eq!(bench.store.count(filter, None).await.unwrap(), 20 * BATCH, "{filter:?}");
    }
}

/// Filters that find the events of [`Draft::new`] through every index.
fn every_way_to_find(correlation: Option<&str>, entity: Option<Entity>) -> Vec<Arc<Filter>> {
    let mut filters = vec![
        Filter::default(),
        Filter { types: vec![TypePattern::new("user.registered")], ..Filter::default() },
        Filter { sources: BTreeSet::from(["user-service".to_owned()]), ..Filter::default() },
        Filter { from: Some("2024-01-15T10:30:00Z".parse().unwrap()), ..Filter::default() },
    ];
    filters.extend(correlation.map(Filter::correlation));
    filters.extend(entity.map(Filter::of_entity));
    filters.into_iter().map(Arc::new).collect()
}

/// An event with the outcome `Stored` is visible to the writing handle, to other open handles, and to handles opened
/// later.
pub async fn append_is_readable_from_every_handle(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let other = bench.storage.open().await;
    let events = Draft::many("e", 5);
    bench.store_all(&events).await;
    let later = bench.storage.open().await;
    let expected: Vec<&str> = events.iter().map(Event::json).collect();
    for store in [&bench.store, &other, &later] {
        let read = walk(&**store, &Arc::default(), Order::OldestFirst, 2, None).await;
        assert_eq!(json_of(&read), expected);
    }
}

/// An event with the id and content of an earlier event is `AlreadyStored` at the earlier position. This holds within a
/// batch, across batches, and for every handle.
pub async fn append_of_the_same_content_is_already_stored(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let event = Draft::new("a").event();
    let outcomes = bench.append(&[event.clone(), event.clone()]).await;
    let AppendOutcome::Stored(first) = outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(outcomes[1], AppendOutcome::AlreadyStored(first));
    let head = bench.store.head().await.unwrap();
    let other = bench.storage.open().await;
    for atomicity in [Atomicity::Each, Atomicity::AllOrNothing] {
        let outcomes = other.append(&[event.clone(), event.clone()], atomicity).await.unwrap();
        assert_eq!(outcomes, [AppendOutcome::AlreadyStored(first); 2]);
    }
    assert_eq!(bench.store.head().await.unwrap(), head);
    assert_eq!(bench.count(Filter::default()).await, 1);
}

/// Content is compared as JSON. The order of members, white space and escapes do not matter. Numbers are compared by
/// exact decimal value.
pub async fn append_of_the_same_content_in_another_spelling_is_already_stored(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let draft =
        Draft::new("ä:1").with("userId", "u\u{202e}").with("data", serde_json::json!({"a": [1, "x"]}));
    let first = bench.store_all(&[draft.event()]).await[0];
    assert_eq!(bench.append(&[draft.event_respelled()]).await, [AppendOutcome::AlreadyStored(first)]);

    let with_price = |id: &str, price: &str| {
        Draft::parse(
            &Draft::new(id)
                .with("data", 0)
                .json()
                .replace("\"data\":0", &format!("\"data\":{{\"price\":{price}}}")),
        )
    };
    for (n, (price, same, other)) in [
        ("1.50", "15e-1", "1.5000000000000001"),
        ("9007199254740993", "9007199254740993.0", "9007199254740992"),
        (
            "123456789012345678901234567890",
            "1.2345678901234567890123456789E29",
            "123456789012345678901234567891",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("price-{n}");
        let batch = [with_price(&id, price), with_price(&id, same), with_price(&id, other)];
        let outcomes = bench.append(&batch).await;
        let [AppendOutcome::Stored(at), again, conflict] = outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!(again, AppendOutcome::AlreadyStored(at), "{price} {same}");
        assert_eq!(conflict, AppendOutcome::Conflict(at), "{price} {other}");
        assert_eq!(bench.store.get(&[id]).await.unwrap()[0].event.json(), batch[0].json());
    }
}

/// An event with the id of an earlier event and other content is a `Conflict`. This holds within a batch and across
/// batches. Nothing of the event is stored.
pub async fn append_of_other_content_is_a_conflict_and_changes_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let original = Draft::new("a").with("userId", "u1");
    let other = original.clone().with("userId", "u2").of_type("other").with("correlationId", "c2");
    let outcomes = bench.append(&[original.event(), other.event()]).await;
    let AppendOutcome::Stored(first) = outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!(outcomes[1], AppendOutcome::Conflict(first));
    let before = bench.store.info().await.unwrap();
    assert_eq!(bench.append(&[other.event()]).await, [AppendOutcome::Conflict(first)]);
    assert_eq!(bench.store.info().await.unwrap(), before);
    assert_eq!(json_of(&bench.all(Filter::default()).await), [original.json()]);
    for filter in [
        Filter::of_entity(Entity::new("user", "u2")),
        Filter::correlation("c2"),
        Filter { types: vec![TypePattern::new("other")], ..Filter::default() },
    ] {
        assert_eq!(bench.count(filter.clone()).await, 0, "{filter:?}");
    }
    bench.verify_is_clean().await;
}

/// Under `Each`, a refused event does not prevent the others from being stored.
pub async fn append_under_each_stores_what_it_can(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&[Draft::new("a").event()]).await;
    let outcomes = bench
        .append(&[Draft::new("b").event(), Draft::new("a").with("data", 1).event(), Draft::new("c").event()])
        .await;
    assert!(
        matches!(
            outcomes[..],
            [AppendOutcome::Stored(_), AppendOutcome::Conflict(_), AppendOutcome::Stored(_)]
        ),
        "{outcomes:?}"
    );
    in_order(&bench.all(Filter::default()).await, &["a", "b", "c"].map(str::to_owned));
}

/// Under `AllOrNothing`, one outcome `Conflict` or `Erased` prevents the whole batch from being stored. The outcomes of
/// the other events say so.
pub async fn append_is_all_or_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let gone = Draft::new("gone").with("userId", "gone").event();
    let first = bench.store_all(&[Draft::new("a").event(), gone.clone()]).await[0];
    bench.erase("user", "gone").await;
    let before = bench.store.info().await.unwrap();

    let fine = Draft::new("b").event();
    let known = Draft::new("a").event();
    for (refused, why) in [
        (Draft::new("a").with("data", 1).event(), AppendOutcome::Conflict(first)),
        (gone, AppendOutcome::Erased),
    ] {
        let batch = [fine.clone(), known.clone(), refused, fine.clone()];
        let outcomes = bench.store.append(&batch, Atomicity::AllOrNothing).await.unwrap();
        let expected =
            [AppendOutcome::NotStored, AppendOutcome::AlreadyStored(first), why, AppendOutcome::NotStored];
        assert_eq!(outcomes, expected);
    }
    let within = [fine.clone(), Draft::new("b").with("data", 1).event()];
    let outcomes = bench.store.append(&within, Atomicity::AllOrNothing).await.unwrap();
    assert!(
        matches!(outcomes[..], [AppendOutcome::NotStored, AppendOutcome::Conflict(_)]),
        "a batch that contradicts itself: {outcomes:?}"
    );
    assert_eq!(bench.store.info().await.unwrap(), before);
    assert_eq!(bench.ids(Filter::default()).await, ["a"]);

    let outcomes = bench.store.append(&[fine, known], Atomicity::AllOrNothing).await.unwrap();
    assert!(
        matches!(outcomes[..], [AppendOutcome::Stored(_), AppendOutcome::AlreadyStored(_)]),
        "{outcomes:?}"
    );
    assert_eq!(bench.ids(Filter::default()).await, ["a", "b"]);
}

/// A read returns the exact bytes of an event: white space, escapes, wide numbers and control characters.
pub async fn append_keeps_every_byte(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let texts = [
        Draft::new("respelled").with("userId", "u").json_respelled(),
        Draft::new("odd").with("data", "\r\n\u{1b}[31m\u{9b}\u{202e}<script>\u{0}\u{10ffff}").json(),
        Draft::new("wide")
            .with("data", 0)
            .json()
            .replace("\"data\":0", "\"data\":[9007199254740993,123456789012345678901234567890,1.50,-0,1E+2]"),
        Draft::new("slashes")
            .with("data", 0)
            .json()
            .replace("\"data\":0", r#""data":"\/\u0041\ud83d\ude00""#),
        format!("  \t\r\n{}\r\n ", Draft::new("spaces").json()),
    ];
    let events: Vec<Event> = texts.iter().map(|text| Draft::parse(text)).collect();
    bench.store_all(&events).await;
    assert_eq!(json_of(&bench.all(Filter::default()).await), texts);
    let ids: Vec<String> = events.iter().map(|event| event.id().to_owned()).collect();
    assert_eq!(json_of(&bench.store.get(&ids).await.unwrap()), texts);
    assert_eq!(bench.all(Filter::of_entity(Entity::new("user", "u"))).await[0].event.json(), texts[0]);
}

/// Names that look like separators, like patterns, or like each other.
pub(super) const ODD: &[&str] = &[
    "a",
    "A",
    "a:b",
    "a:",
    ":a",
    "a:b:c",
    "{a}",
    "{a",
    "a}",
    "{}",
    "*",
    "a*",
    "?",
    "[a]",
    "[",
    "]",
    "\\",
    "\\\\",
    "a\\",
    "%",
    "_",
    "'",
    "''",
    "\"",
    "--",
    ";",
    "a b",
    " a",
    "a ",
    "\r",
    "\n",
    "a\r\nb",
    "\u{1b}[0m",
    "\u{9b}",
    "\u{202e}a",
    "\u{200b}a",
    "\u{e4}",
    "a\u{308}",
    "\u{130}",
    "i",
    "\u{131}",
    "0",
    "00",
    "-0",
    "1e0",
    "null",
    "true",
    "../a",
    "a/b",
    "~",
    "~0",
    "~1",
    "$",
    "<script>",
    "123e4567-e89b-12d3-a456-426614174000",
    "123E4567-E89B-12D3-A456-426614174000",
    "{123e4567-e89b-12d3-a456-426614174000}",
    "123e4567e89b12d3a456426614174000",
    "urn:uuid:123e4567-e89b-12d3-a456-426614174000",
];

/// Ids, types, sources, correlation ids and entity values of any text stay distinct in their indexes.
pub async fn append_never_confuses_odd_names(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let draft = |name: &&str| {
        let draft = Draft::new(name).of_type(name).with("source", *name);
        draft.with("correlationId", *name).with("userId", *name).with(&format!("{name}Id"), "x").event()
    };
    let events: Vec<Event> = ODD.iter().map(draft).collect();
    bench.store_all(&events).await;
    for name in ODD {
        let owned = BTreeSet::from([(*name).to_owned()]);
        for filter in [
            Filter { sources: owned.clone(), ..Filter::default() },
            Filter { event_ids: owned.into_iter().collect(), ..Filter::default() },
            Filter::correlation(*name),
            Filter::of_entity(Entity::new("user", *name)),
            Filter::of_entity(Entity::new(*name, "x")),
        ] {
            assert_eq!(bench.ids(filter.clone()).await, [*name], "{filter:?}");
            assert_eq!(bench.count(filter).await, 1, "{name:?}");
        }
        if !name.contains('*') {
            let by_type = Filter { types: vec![TypePattern::new(*name)], ..Filter::default() };
            assert_eq!(bench.ids(by_type).await, [*name]);
        }
        assert_eq!(bench.store.get(&[(*name).to_owned()]).await.unwrap().len(), 1, "{name:?}");
    }
    for absent in ["a:b:", "B", "a\\b", "%a", "a_b", ""] {
        assert_eq!(bench.count(Filter::correlation(absent)).await, 0, "{absent:?}");
    }
    bench.verify_is_clean().await;
}

/// Positions rise in the order of the batch and of the calls. Reads of the log follow the same order.
pub async fn append_hands_out_rising_positions(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let mut positions = Vec::new();
    for batch in 0..5 {
        positions.extend(bench.store_all(&Draft::many(&format!("b{batch}"), 4)).await);
        let head = bench.store.head().await.unwrap();
        for partition in 0..bench.partitions {
            let own = positions.iter().filter(|position| position.partition == partition);
            assert_eq!(head.sequence(partition), own.map(|position| position.sequence).max().unwrap_or(0));
        }
    }
    assert!(rise(&positions), "{positions:?}");
    assert!(positions[0].sequence >= 1);
    let read: Vec<_> = bench.all(Filter::default()).await.iter().map(|stored| stored.position).collect();
    assert_eq!(read, positions);
}

/// A position is never assigned twice. This holds even after all events were trimmed or erased and the store was
/// reopened.
pub async fn append_never_hands_out_a_position_twice(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let mut handed_out = bench.store_all(&Draft::many("a", 3)).await;
    let everything = RetentionRule { max_events: Some(0), ..RetentionRule::default() };
    let request = TrimRequest {
        rule: everything,
        holds: Vec::new(),
        limit: 100,
        dry_run: false,
        groups: GroupHolds::default(),
    };
    assert_eq!(bench.trim(&request).await.events, 3);
    for (round, removal) in ["trim", "erase"].into_iter().enumerate() {
        let reopened = bench.storage.open().await;
        let head = reopened.head().await.unwrap();
        assert!(handed_out.iter().all(|position| head.covers(*position)), "{head:?} after {removal}");
        let event = Draft::new(&format!("b{round}")).with("userId", "u").event();
        let outcomes = reopened.append(&[event], Atomicity::Each).await.unwrap();
        let AppendOutcome::Stored(next) = outcomes[0] else { panic!("{outcomes:?}") };
        handed_out.push(next);
        assert!(rise(&handed_out), "{handed_out:?}");
        bench.erase("user", "u").await;
    }
}

/// The stored time of an event is the time of the store's clock at the append.
pub async fn append_stamps_events_with_the_stores_clock(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let first = bench.clock.now();
    bench.store_all(&[Draft::new("a").event()]).await;
    bench.clock.advance(Duration::from_millis(1_500));
    bench.store_all(&[Draft::new("b").event()]).await;
    assert_eq!(bench.append(&[Draft::new("a").event()]).await.len(), 1);
    let stamps: Vec<_> = bench.all(Filter::default()).await.iter().map(|stored| stored.stored_at).collect();
    assert_eq!(stamps, [first, bench.clock.now()]);
}

/// If the clock steps back, an event gets the stored time of the previous event in its partition. This also holds
/// through another handle.
pub async fn append_never_steps_back_in_stored_time(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let start = bench.clock.now();
    let event = |id: &str| Draft::new(id).with("userId", "u").event().with_key_source(KeySource::Entity(0));
    bench.store_all(&[event("a")]).await;
    bench.clock.set(start - Duration::from_secs(3600));
    let other = bench.storage.open().await;
    other.append(&[event("b")], Atomicity::Each).await.unwrap();
    bench.clock.set(start + Duration::from_secs(1));
    bench.store_all(&[event("c")]).await;
    let stamps: Vec<_> = bench.all(Filter::default()).await.iter().map(|stored| stored.stored_at).collect();
    assert_eq!(stamps, [start, start, bench.clock.now()]);
}

/// The ordering key of an event is stored with it.
pub async fn append_keeps_the_ordering_key(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let event =
        |id: &str| Draft::new(id).with("correlationId", "c").with("userId", "u").with("labId", "l").event();
    let keys = [KeySource::Id, KeySource::Correlation, KeySource::Entity(0), KeySource::Entity(1)];
    let events: Vec<Event> =
        keys.iter().enumerate().map(|(n, key)| event(&format!("e{n}")).with_key_source(*key)).collect();
    bench.store_all(&events).await;
    let read = bench.all(Filter::default()).await;
    let keys: Vec<String> = read.iter().map(|stored| stored.event.ordering_key().to_string()).collect();
    assert_eq!(keys, ["event=e0", "correlation=c", "user=u", "lab=l"]);
}

/// The delivery options of an event are stored beside it and are not part of its content. The same event with other
/// options is the same event, and the first options stay.
pub async fn append_keeps_delivery_options(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let expires_at = Some("2024-06-01T12:00:00.123456789Z".parse().unwrap());
    let wishes = [
        DeliveryOptions::default(),
        DeliveryOptions { priority: Priority::Low, retries: Some(0), ..DeliveryOptions::default() },
        DeliveryOptions {
            priority: Priority::Critical,
            expires_at,
            retries: Some(u16::MAX),
            reports_error: true,
        },
    ];
    let events: Vec<Event> = Draft::many("e", 3)
        .into_iter()
        .zip(wishes)
        .map(|(event, options)| event.with_options(options))
        .collect();
    let positions = bench.store_all(&events).await;
    let others: Vec<Event> = events
        .iter()
        .zip([wishes[1]; 3])
        .map(|(event, options)| event.clone().with_options(options))
        .collect();
    let again = bench.storage.open().await.append(&others, Atomicity::Each).await.unwrap();
    let expected: Vec<_> = positions.into_iter().map(AppendOutcome::AlreadyStored).collect();
    assert_eq!(again, expected);
    let read = bench.all(Filter::default()).await;
    assert_eq!(read.iter().map(|stored| stored.event.options()).collect::<Vec<_>>(), wishes);
    assert_eq!(bench.store.get(&["e-2".to_owned()]).await.unwrap()[0].event.options(), wishes[2]);
    bench.verify_is_clean().await;
}
