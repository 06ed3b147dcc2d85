//! The properties that users of the generator rely on, checked on its JSON.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test's helper fails")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};

use event_replay_generator::{Generated, Generator, Projection, Settings, Validity};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// The members that each type requires, each with its JSON type: `s` for string, `n` for number.
const REQUIRED: [(&str, &str); 16] = [
    ("user.registered", "/userId s /data/email s /data/registrationMethod s"),
    ("user.profile.updated", "/userId s"),
    ("user.subscription.updated", "/userId s /data/subscriptionType s /data/status s"),
    (
        "course.created",
        "/courseId s /instructorId s /data/title s /data/description s /data/category s /data/difficulty s \
         /data/status s",
    ),
    ("course.updated", "/courseId s"),
    ("course.enrolled", "/courseId s /userId s /data/enrollmentType s /data/enrolledAt s /data/progress n"),
    ("course.completed", "/courseId s /userId s /data/progress n /data/completedAt s"),
    (
        "lab.created",
        "/labId s /instructorId s /data/title s /data/type s /data/difficulty s /data/status s /data/duration n",
    ),
    (
        "lab.session.started",
        "/labId s /userId s /sessionId s /data/cloudProvider s /data/region s /data/startedAt s /data/status s",
    ),
    (
        "lab.session.completed",
        "/labId s /userId s /sessionId s /data/sessionDuration n /data/completedAt s /data/status s",
    ),
    (
        "payment.processed",
        "/userId s /paymentId s /data/amount n /data/currency s /data/status s /data/paymentMethod s \
         /data/processedAt s",
    ),
    (
        "subscription.created",
        "/userId s /subscriptionId s /data/planId s /data/status s /data/startDate s /data/billingCycle s",
    ),
    (
        "path.created",
        "/pathId s /instructorId s /data/title s /data/description s /data/status s /data/totalSteps n",
    ),
    (
        "path.completed",
        "/pathId s /userId s /data/progress n /data/completedSteps n /data/totalSteps n /data/completedAt s",
    ),
    ("admin.user.action", "/adminId s /targetUserId s /data/action s /data/performedAt s"),
    ("system.error", "/data/error s /data/originalEvent s"),
];

fn required(event_type: &str) -> Vec<(&'static str, &'static str)> {
    let (_, members) = REQUIRED.iter().find(|(name, _)| *name == event_type).expect(event_type);
    let words: Vec<_> = members.split_whitespace().collect();
    words.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

fn valid(settings: Settings) -> Vec<Value> {
    let events = Generator::new(settings).filter(|event| event.validity == Validity::Valid);
    events.map(|event| serde_json::from_str(&event.json).expect(&event.json)).collect()
}

fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn time(event: &Value) -> Timestamp {
    text(event, "/timestamp").parse().unwrap()
}

fn january() -> (Timestamp, Timestamp) {
    ("2024-01-01T00:00:00Z".parse().unwrap(), "2024-01-31T23:59:59Z".parse().unwrap())
}

fn fingerprint(settings: Settings) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for Generated { json, validity } in Generator::new(settings) {
        for byte in json.bytes().chain(format!("{validity:?}\n").into_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

#[test]
fn the_same_seed_gives_the_same_bytes_for_ever() {
    assert_eq!(fingerprint(Settings::demo(3000)), fingerprint(Settings::demo(3000)));
    let other = Settings { seed: 1, ..Settings::demo(3000) };
    assert_ne!(fingerprint(other), fingerprint(Settings::demo(3000)));
    // The value is fixed: a change here changes the events of every seed.
    assert_eq!(format!("{:016x}", fingerprint(Settings::demo(3000))), "7e7a011b073cec33");
}

#[test]
fn two_hundred_events_have_all_types_with_any_seed() {
    for seed in 0..30 {
        for events in [200, 251, 1000] {
            let events = valid(Settings { seed, ..Settings::demo(events) });
            let types: BTreeSet<_> = events.iter().map(|event| text(event, "/type")).collect();
            let expected: BTreeSet<_> = REQUIRED.iter().map(|(name, _)| *name).collect();
            assert_eq!(types, expected, "seed {seed}, {} events", events.len());
        }
    }
}

#[test]
fn valid_events_have_every_member_that_their_type_requires() {
    for event in valid(Settings::demo(20_000)) {
        for (member, kind) in required(text(&event, "/type")) {
            let value = event.pointer(member);
            let right = if kind == "s" {
                value.is_some_and(Value::is_string)
            } else {
                value.is_some_and(Value::is_number)
            };
            assert!(right, "{member} in {event}");
        }
        for member in ["/id", "/type", "/version", "/source", "/correlationId"] {
            let length = text(&event, member).len();
            assert!((1..=128).contains(&length), "{member} in {event}");
        }
        assert!(event["metadata"].is_object() && event["data"].is_object(), "{event}");
    }
}

#[test]
fn invalid_events_are_as_many_as_asked_and_wrong_as_said() {
    let settings = Settings { invalid_per_thousand: 500, ..Settings::demo(40_000) };
    let mut struck: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut rules: BTreeMap<&str, usize> = BTreeMap::new();
    let mut generator = Generator::new(settings);
    for Generated { json, validity } in generator.by_ref() {
        let Validity::Invalid { pointer, rule } = validity else { continue };
        *rules.entry(rule).or_default() += 1;
        let parsed: Result<Value, _> = serde_json::from_str(&json);
        let value = parsed.as_ref().ok().and_then(|event| event.pointer(&pointer)).cloned();
        let known =
            parsed.as_ref().is_ok_and(|event| REQUIRED.iter().any(|(name, _)| *name == text(event, "/type")));
        let right = match rule {
            "required" => known && value.is_none_or(|value| value.is_null()) && !pointer.is_empty(),
            "type" => known && value.is_some_and(|value| !value.is_null()) && !pointer.is_empty(),
            "schema" => pointer == "/type" && !known,
            "date-time" => {
                pointer == "/timestamp" && value.is_some_and(|time| time.as_str().is_some_and(bad_time))
            }
            "limit" => {
                pointer == "/id"
                    && value.is_some_and(|id| matches!(id.as_str().map(str::len), Some(0 | 129..)))
            }
            "json" => pointer.is_empty() && (parsed.is_err() || json.matches(r#""source":"#).count() == 2),
            _ => false,
        };
        assert!(right, "{pointer} {rule}: {json}");
        if let (Ok(event), "required" | "type") = (parsed, rule) {
            struck.entry(text(&event, "/type").to_owned()).or_default().insert(pointer);
        }
    }
    assert!((18_000..22_000).contains(&generator.invalid_events()), "{}", generator.invalid_events());
    assert_eq!(rules.len(), 6, "{rules:?}");
    for (name, _) in REQUIRED {
        let mut found = struck.remove(name).unwrap_or_default();
        found.retain(|pointer| pointer != "/source" && pointer != "/metadata");
        let expected: BTreeSet<_> = required(name).into_iter().map(|(member, _)| member.to_owned()).collect();
        assert_eq!(found, expected, "{name}");
    }
}

fn bad_time(text: &str) -> bool {
    text.parse::<Timestamp>().is_err()
}

#[test]
fn no_invalid_events_when_none_are_asked_for() {
    let settings = Settings { invalid_per_thousand: 0, ..Settings::demo(5000) };
    assert_eq!(valid(settings).len(), 5000);
}

#[test]
fn ids_payments_sessions_and_subscriptions_are_unique() {
    let events = valid(Settings::demo(50_000));
    let ids: HashSet<_> = events.iter().map(|event| text(event, "/id")).collect();
    assert_eq!(ids.len(), events.len());
    for (name, member) in [
        ("payment.processed", "/paymentId"),
        ("lab.session.started", "/sessionId"),
        ("subscription.created", "/subscriptionId"),
        ("course.created", "/courseId"),
        ("user.registered", "/userId"),
    ] {
        let of: Vec<_> = events.iter().filter(|event| text(event, "/type") == name).collect();
        let distinct: HashSet<_> = of.iter().map(|event| text(event, member)).collect();
        assert!(of.len() > 100 && distinct.len() == of.len(), "{name}: {} of {}", distinct.len(), of.len());
    }
}

#[test]
fn workflows_share_a_correlation_and_each_event_names_the_one_before() {
    let mut workflows: HashMap<String, Vec<Value>> = HashMap::new();
    for event in valid(Settings::demo(20_000)) {
        workflows.entry(text(&event, "/correlationId").to_owned()).or_default().push(event);
    }
    let short = workflows.values().filter(|events| events.len() < 2).count();
    assert!(short <= 1, "{short} workflows of one event");
    assert!(workflows.values().all(|events| events.len() <= 10));
    for events in workflows.values() {
        assert!(events[0].get("causationId").is_none());
        for pair in events.windows(2) {
            assert_eq!(text(&pair[1], "/causationId"), text(&pair[0], "/id"));
            assert!(time(&pair[1]) >= time(&pair[0]));
        }
    }
}

#[test]
fn times_rise_over_the_span_but_for_a_few_late_events() {
    let (start, end) = january();
    let events = valid(Settings::demo(50_000));
    let times: Vec<_> = events.iter().map(time).collect();
    assert!(times.iter().all(|at| (start..=end).contains(at)));
    assert!(times.last().unwrap().duration_since(times[0]) > SignedDuration::from_hours(30 * 24));
    let mut latest = start;
    let (mut late, mut equal) = (0, 0);
    for pair in times.windows(2) {
        latest = latest.max(pair[0]);
        late += usize::from(latest.duration_since(pair[1]) > SignedDuration::from_hours(12));
        equal += usize::from(pair[0] == pair[1]);
    }
    assert!((20..120).contains(&late), "{late} late");
    assert!((200..3000).contains(&equal), "{equal} equal");
}

#[test]
fn the_examples_of_the_documentation_find_events() {
    let (start, end) = january();
    let since: Timestamp = "2024-01-15T10:30:00Z".parse().unwrap();
    for count in [200, 5000] {
        let events = valid(Settings::demo(count));
        let any = |test: &dyn Fn(&Value) -> bool| events.iter().any(test);
        assert!(any(
            &|event| text(event, "/type") == "course.enrolled" && text(event, "/userId") == "user-123"
        ));
        for correlation in ["correlation-123", "workflow-abc-123", "workflow-payment-123"] {
            let found = events.iter().filter(|event| text(event, "/correlationId") == correlation).count();
            assert!(found >= 2, "{correlation}");
        }
        assert!(any(&|event| text(event, "/id") == "event-456789"));
        assert!(any(&|event| text(event, "/id") == "last-processed-event-id"));
        assert!(any(&|event| text(event, "/source") == "user-service" && time(event) >= since));
        assert!(any(
            &|event| text(event, "/type") == "user.registered" && (start..=end).contains(&time(event))
        ));
    }
}

#[test]
fn a_few_users_are_busy_and_most_are_not() {
    let mut counts: HashMap<String, usize> = HashMap::new();
    let events = valid(Settings::demo(50_000));
    for event in &events {
        *counts.entry(text(event, "/userId").to_owned()).or_default() += 1;
    }
    counts.remove("");
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let busy: usize = counts.iter().take(counts.len() / 100).sum();
    assert!(busy * 10 > events.len(), "{busy}");
}

#[test]
fn events_are_of_a_realistic_size() {
    let bytes: usize = Generator::new(Settings::demo(20_000)).map(|event| event.json.len()).sum();
    assert!((600..=700).contains(&(bytes / 20_000)), "{}", bytes / 20_000);
}

#[test]
fn a_projection_of_all_events_in_any_order_and_twice_meets_the_expectation() {
    for seed in 0..5 {
        let settings = Settings { seed, ..Settings::demo(8000) };
        let mut generator = Generator::new(settings);
        generator.by_ref().for_each(drop);
        let mut events = valid(settings);
        let mut projection = Projection::new();
        events.sort_unstable_by_key(|event| text(event, "/metadata/requestId").to_owned());
        assert!(events.iter().all(|event| projection.apply(event)));
        assert_eq!(generator.expectation().diff(projection.read_model()), Vec::<String>::new());
        assert!(!events.iter().rev().any(|event| projection.apply(event)));
        assert_eq!(generator.expectation().digest(), projection.read_model().digest());
        assert_eq!(generator.expectation().valid_events(), projection.events());
        let model = projection.read_model();
        assert!(model.revenue_cents.values().all(|cents| *cents > 0) && model.revenue_cents.len() == 4);
        assert!(model.users.values().all(|user| user.active_subscriptions >= 0));
        assert!(model.users["user-123"].lab_minutes > 0);
    }
}

#[test]
fn folding_without_remembering_leads_to_the_same_figures() {
    let mut generator = Generator::new(Settings::demo(2000));
    generator.by_ref().for_each(drop);
    let mut projection = Projection::new();
    valid(Settings::demo(2000)).iter().for_each(|event| projection.fold(event));
    assert_eq!(generator.expectation().diff(projection.read_model()), Vec::<String>::new());
    assert_eq!(projection.events(), 0);
}

#[test]
fn skipping_any_one_event_is_seen() {
    let mut generator = Generator::new(Settings::demo(250));
    generator.by_ref().for_each(drop);
    let events = valid(Settings::demo(250));
    for skipped in 0..events.len() {
        let mut projection = Projection::new();
        for (_, event) in events.iter().enumerate().filter(|(at, _)| *at != skipped) {
            projection.apply(event);
        }
        let lines = generator.expectation().diff(projection.read_model());
        assert!(lines.len() >= 3, "{}: {lines:?}", events[skipped]);
        assert_ne!(generator.expectation().digest(), projection.read_model().digest());
    }
}

#[test]
fn the_expectation_can_be_asked_at_any_moment() {
    let mut generator = Generator::new(Settings::demo(2000));
    let mut projection = Projection::new();
    while let Some(event) = generator.next() {
        if event.validity == Validity::Valid {
            projection.apply(&serde_json::from_str(&event.json).unwrap());
        }
        if projection.events().is_multiple_of(97) {
            assert_eq!(generator.expectation().diff(projection.read_model()), Vec::<String>::new());
        }
    }
}

#[test]
fn open_workflows_stay_few_however_many_events_there_are() {
    let mut generator = Generator::new(Settings::demo(300_000));
    let mut most = 0;
    while generator.next().is_some() {
        most = most.max(generator.open_workflows());
    }
    assert!((10..=60).contains(&most), "{most}");
    assert_eq!(generator.open_workflows(), 0);
}

#[test]
fn any_settings_give_as_many_events_as_asked() {
    let (start, _) = january();
    for events in [0, 1, 2, 3, 10, 57] {
        for span in [Duration::ZERO, Duration::from_millis(3), Duration::MAX] {
            for start in [start, Timestamp::MIN, Timestamp::MAX] {
                let settings = Settings { users: 0, ..Settings::new(events, events, start, span) };
                let lines: Vec<_> = Generator::new(settings).collect();
                assert_eq!(lines.len() as u64, events);
                let good = lines.iter().filter(|event| event.validity == Validity::Valid);
                for event in good {
                    let value: Value = serde_json::from_str(&event.json).expect(&event.json);
                    assert!(!bad_time(text(&value, "/timestamp")), "{value}");
                }
            }
        }
    }
    let all_wrong = Settings { invalid_per_thousand: u16::MAX, ..Settings::demo(1000) };
    assert!((400..600).contains(&valid(all_wrong).len()));
}
