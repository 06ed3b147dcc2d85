//! Laws of filters. The indexes find exactly the events that the definition of the filter selects.

use std::{collections::BTreeSet, sync::Arc};

use domain::{Condition, Entity, Event, Filter, TypePattern};

use crate::{Bench, Draft, Harness};

fn types(patterns: &[&str]) -> Vec<TypePattern> {
    patterns.iter().copied().map(TypePattern::new).collect()
}

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().copied().map(str::to_owned).collect()
}

/// Stores twelve events of two users, two labs, two sources and three types.
async fn bench(h: &impl Harness) -> Bench {
    let bench = Bench::new(h).await;
    let event = |n: usize| {
        let mut draft = Draft::new(&format!("e{n}"))
            .of_type(["user.registered", "user.profile.updated", "lab.created"][n % 3])
            .with("source", ["s0", "s1"][n % 2])
            .with("userId", format!("u{}", n / 6))
            .with("data", serde_json::json!({ "n": n }))
            .at(&format!("2024-01-15T10:30:{:02}Z", 59 - n));
        if n % 4 < 2 {
            draft = draft.with("correlationId", format!("c{}", n % 4));
        }
        if !n.is_multiple_of(5) {
            draft = draft.with("labId", format!("l{}", n % 5 / 3));
        }
        draft.event()
    };
    bench.store_all(&(0..12).map(event).collect::<Vec<_>>()).await;
    bench
}

async fn expect(bench: &Bench, filter: Filter, expected: &[usize]) {
    let expected_ids: Vec<String> = expected.iter().map(|n| format!("e{n}")).collect();
    assert_eq!(bench.ids(filter.clone()).await, expected_ids, "{filter:?}");
    assert_eq!(bench.count(filter.clone()).await, expected.len() as u64, "{filter:?}");
}

/// A filter by type, source, correlation id, entity or id finds exactly its events.
pub async fn a_filter_finds_by_each_of_its_parts(h: &impl Harness) {
    let bench = bench(h).await;
    expect(&bench, Filter { types: types(&["lab.created"]), ..Filter::default() }, &[2, 5, 8, 11]).await;
    expect(&bench, Filter { sources: set(&["s1"]), ..Filter::default() }, &[1, 3, 5, 7, 9, 11]).await;
    expect(&bench, Filter::correlation("c1"), &[1, 5, 9]).await;
    expect(&bench, Filter::of_entity(Entity::new("user", "u1")), &[6, 7, 8, 9, 10, 11]).await;
    expect(&bench, Filter::of_entity(Entity::new("lab", "l1")), &[3, 4, 8, 9]).await;
    let by_id = Filter { event_ids: set(&["e7", "absent", "e2"]).into_iter().collect(), ..Filter::default() };
    expect(&bench, by_id, &[2, 7]).await;
    for nothing in [
        Filter { types: types(&["lab"]), ..Filter::default() },
        Filter { sources: set(&["c0", "S0"]), ..Filter::default() },
        Filter::correlation("u0"),
        Filter::of_entity(Entity::new("user", "l1")),
        Filter::of_entity(Entity::new("course", "u1")),
        Filter { event_ids: set(&["e"]).into_iter().collect(), ..Filter::default() },
    ] {
        expect(&bench, nothing, &[]).await;
    }
}

/// An event must match all parts of a filter, and one value of each part. Two ids of one kind are alternatives, and two
/// kinds must both match.
pub async fn a_filter_ands_its_parts_and_ors_their_values(h: &impl Harness) {
    let bench = bench(h).await;
    expect(&bench, Filter { correlation_ids: set(&["c0", "c1"]), ..Filter::default() }, &[0, 1, 4, 5, 8, 9])
        .await;
    let either =
        Filter { types: types(&["lab.created", "user.registered", "lab.created"]), ..Filter::default() };
    expect(&bench, either, &[0, 2, 3, 5, 6, 8, 9, 11]).await;
    let mut entities = Filter::of_entity(Entity::new("user", "u0"));
    entities.add_entity(Entity::new("user", "u1"));
    expect(&bench, entities.clone(), &(0..12).collect::<Vec<_>>()).await;
    entities.add_entity(Entity::new("lab", "l1"));
    expect(&bench, entities, &[3, 4, 8, 9]).await;
    let all = Filter {
        types: types(&["lab.created"]),
        sources: set(&["s1"]),
        from: Some("2024-01-15T10:30:48Z".parse().unwrap()),
        to: Some("2024-01-15T10:30:55Z".parse().unwrap()),
        event_ids: set(&["e5", "e8", "e11"]).into_iter().collect(),
        ..Filter::of_entity(Entity::new("lab", "l0"))
    };
    expect(&bench, Filter { correlation_ids: set(&["c1"]), ..all.clone() }, &[]).await;
    expect(&bench, all, &[11]).await;
}

/// `*` in a type matches any sequence of characters, including dots. Other characters match themselves.
pub async fn a_filter_takes_patterns_of_types(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let names = ["user.registered", "user.profile.updated", "superuser.x", "user", "USER.X", "a%b_c", "u*"];
    bench.store_all(&names.map(|name| Draft::new(name).of_type(name).event())).await;
    for (patterns, expected) in [
        (&["user.*"] as &[&str], &["user.registered", "user.profile.updated"] as &[&str]),
        (&["*.updated"], &["user.profile.updated"]),
        (&["user*"], &["user.registered", "user.profile.updated", "user"]),
        (&["*user.*"], &["user.registered", "user.profile.updated", "superuser.x"]),
        (&["u*d", "user"], &["user.registered", "user.profile.updated", "user"]),
        (&["*"], &names),
        (&["u_er", "a%", "[u]ser", "user?"], &[]),
        (&["a%b_*"], &["a%b_c"]),
        (&["u\\*"], &[]),
    ] {
        let filter = Filter { types: types(patterns), ..Filter::default() };
        assert_eq!(bench.ids(filter.clone()).await, expected, "{patterns:?}");
        assert_eq!(bench.count(filter).await, expected.len() as u64, "{patterns:?}");
    }
}

/// A part with thousands of values is accepted, and none of the values is dropped.
pub async fn a_filter_takes_thousands_of_values(h: &impl Harness) {
    let bench = bench(h).await;
    let many: BTreeSet<String> = (0..3_000).map(|n| format!("e{n:04}")).chain(["e3".to_owned()]).collect();
    let ids = Filter { event_ids: many.iter().cloned().collect(), ..Filter::default() };
    expect(&bench, ids, &[3]).await;
    let with = |value: &str| many.iter().cloned().chain([value.to_owned()]).collect::<BTreeSet<_>>();
    expect(&bench, Filter { correlation_ids: with("c0"), ..Filter::default() }, &[0, 4, 8]).await;
    let mut entities = Filter { sources: with("s0"), ..Filter::default() };
    entities.entities.insert("user".to_owned(), with("u1"));
    expect(&bench, entities, &[6, 8, 10]).await;
    let names = with("lab.created").iter().map(TypePattern::new).collect();
    expect(&bench, Filter { types: names, ..Filter::default() }, &[2, 5, 8, 11]).await;
}

/// A time range includes both bounds, with a precision of one nanosecond.
pub async fn a_time_range_includes_both_edges_to_the_nanosecond(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let times = [
        "2024-01-15T10:29:59.999999999Z",
        "2024-01-15T10:30:00Z",
        "2024-01-15T12:30:00.000000001+02:00",
        "2024-01-15T10:30:00.000000002Z",
        "2024-01-15T10:30:00.000001Z",
    ];
    let event = |(n, at): (usize, &&str)| Draft::new(&format!("e{n}")).at(at).event();
    bench.store_all(&times.iter().enumerate().map(event).collect::<Vec<_>>()).await;
    for from in 0..times.len() {
        for to in from..times.len() {
            let (start, end) = (times[from].parse().unwrap(), times[to].parse().unwrap());
            let filter = Filter { from: Some(start), to: Some(end), ..Filter::default() };
            expect(&bench, filter, &(from..=to).collect::<Vec<_>>()).await;
        }
        let (start, end) = (times[from].parse().unwrap(), times[from].parse().unwrap());
        let since = Filter { from: Some(start), ..Filter::default() };
        expect(&bench, since, &(from..times.len()).collect::<Vec<_>>()).await;
        let till = Filter { to: Some(end), ..Filter::default() };
        expect(&bench, till, &(0..=from).collect::<Vec<_>>()).await;
    }
}

/// The log is not sorted by timestamp. Late events and events of the first and last years are found as well.
pub async fn a_time_range_finds_late_and_ancient_events(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let times =
        ["2024-01-15T10:30:00Z", "0001-01-01T00:00:00Z", "9999-12-30T00:00:00Z", "1969-12-31T23:59:59.5Z"];
    let event = |(n, at): (usize, &&str)| Draft::new(&format!("e{n}")).at(at).event();
    bench.store_all(&times.iter().enumerate().map(event).collect::<Vec<_>>()).await;
    let range = |from: &str, to: &str| Filter {
        from: Some(from.parse().unwrap()),
        to: Some(to.parse().unwrap()),
        ..Filter::default()
    };
    expect(&bench, range("0001-01-01T00:00:00Z", "1969-12-31T23:59:59.5Z"), &[1, 3]).await;
    expect(&bench, range("1969-12-31T23:59:59.500000001Z", "9999-12-30T00:00:00Z"), &[0, 2]).await;
    expect(&bench, range("0001-01-01T00:00:00Z", "9999-12-30T00:00:00Z"), &[0, 1, 2, 3]).await;
    let backwards = range("2024-01-16T00:00:00Z", "2024-01-15T00:00:00Z");
    expect(&bench, backwards, &[]).await;
}

/// A condition that `data.n` is at least this number.
#[derive(Debug)]
pub(crate) struct AtLeast(pub(crate) i64);

impl Condition for AtLeast {
    fn text(&self) -> &str {
        "data.n is at least something"
    }

    fn holds(&self, event: &Event) -> bool {
        let value: serde_json::Value = serde_json::from_str(event.json()).unwrap();
        value["data"]["n"].as_i64().is_some_and(|n| n >= self.0)
    }
}

/// A condition on the content is one more part of the filter. Other parts, counts and pages apply to it as usual.
pub async fn a_condition_joins_the_other_parts(h: &impl Harness) {
    let bench = bench(h).await;
    let condition: Option<Arc<dyn Condition>> = Some(Arc::new(AtLeast(7)));
    expect(&bench, Filter { condition: condition.clone(), ..Filter::default() }, &[7, 8, 9, 10, 11]).await;
    let both = Filter { condition, ..Filter::correlation("c1") };
    expect(&bench, both, &[9]).await;
    let none: Option<Arc<dyn Condition>> = Some(Arc::new(AtLeast(100)));
    expect(&bench, Filter { condition: none, ..Filter::default() }, &[]).await;
}
