//! Tests of the built-in schemas against a separate table of the required and optional members of each type.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::print_stdout)]

mod common;

use common::{ENGINES, broken, pointers};
use domain::ports::EventValidator;
use event_replay_validation::{EngineKind, SchemaRegistry};
use serde_json::{Map, Value, json};

/// Type, entities, members of `data` (`?`: optional), and the member that names the ordering key.
const TABLE: &str = "
user.registered | userId | email:string registrationMethod:string firstName?:string lastName?:string provider?:string | userId
user.profile.updated | userId | firstName?:string lastName?:string email?:string phone?:string avatar?:string bio?:string previousValues?:object | userId
user.subscription.updated | userId | subscriptionType:string status:string previousType?:string previousStatus?:string expiresAt?:string billingCycle?:string | userId
course.created | courseId instructorId | title:string description:string category:string difficulty:string status:string duration?:number price?:number | courseId
course.updated | courseId | title?:string description?:string category?:string difficulty?:string status?:string previousStatus?:string duration?:number price?:number | courseId
course.enrolled | courseId userId | enrollmentType:string enrolledAt:string progress:number | userId
course.completed | courseId userId | progress:number completedAt:string finalScore?:number completionTime?:number certificateEligible?:boolean | userId
lab.created | labId instructorId | title:string type:string difficulty:string status:string duration:number | labId
lab.session.started | labId userId sessionId | cloudProvider:string region:string startedAt:string status:string environmentId?:string resources?:array | userId
lab.session.completed | labId userId sessionId | sessionDuration:number completedAt:string status:string solutionScore?:number cost?:number | userId
payment.processed | userId paymentId | amount:number currency:string status:string paymentMethod:string processedAt:string subscriptionId?:string courseId?:string description?:string | userId
subscription.created | userId subscriptionId | planId:string status:string startDate:string billingCycle:string endDate?:string trialEndDate?:string amount?:number | userId
path.created | pathId instructorId | title:string description:string status:string totalSteps:number | pathId
path.completed | pathId userId | progress:number completedSteps:number totalSteps:number completedAt:string completionTime?:number certificateEligible?:boolean | userId
admin.user.action | adminId targetUserId | action:string performedAt:string reason?:string previousValue?:string newValue?:string | targetUserId
system.error | | error:string originalEvent:string |
";

struct Member {
    pointer: String,
    kind: String,
    required: bool,
}

struct Row {
    event_type: String,
    members: Vec<Member>,
    ordering: Option<String>,
}

fn rows() -> Vec<Row> {
    TABLE.trim().lines().map(row).collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let member = |pointer: String, kind: &str, required| Member { pointer, kind: kind.to_owned(), required };
    let mut members = Vec::new();
    for name in ["id", "version", "timestamp", "source"].into_iter().chain(cells[1].split_whitespace()) {
        members.push(member(format!("/{name}"), "string", true));
    }
    for name in ["correlationId", "causationId"] {
        members.push(member(format!("/{name}"), "string", false));
    }
    members.push(member("/metadata".to_owned(), "object", true));
    members.push(member("/data".to_owned(), "object", true));
    for cell in cells[2].split_whitespace() {
        let (name, kind) = cell.split_once(':').unwrap();
        let bare = name.trim_end_matches('?');
        members.push(member(format!("/data/{bare}"), kind, bare == name));
    }
    let ordering = Some(cells[3].to_owned()).filter(|name| !name.is_empty());
    Row { event_type: cells[0].to_owned(), members, ordering }
}

fn sample(kind: &str) -> Value {
    match kind {
        "string" => json!("text"),
        "number" => json!(4.35),
        "boolean" => json!(true),
        "array" => json!(["a", 1]),
        _ => json!({"any": 1}),
    }
}

/// Returns an event with all members, or with the required members alone.
fn instance(row: &Row, all: bool) -> Value {
    let mut event =
        Map::from_iter([("type".to_owned(), json!(row.event_type)), ("data".to_owned(), json!({}))]);
    for member in row.members.iter().filter(|m| m.pointer != "/data" && (all || m.required)) {
        match member.pointer.strip_prefix("/data/") {
            Some(name) => event["data"][name] = sample(&member.kind),
            None => {
                event.insert(member.pointer[1..].to_owned(), sample(&member.kind));
            }
        }
    }
    Value::Object(event)
}

fn without(event: &Value, pointer: &str) -> Value {
    let mut event = event.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name).unwrap();
    event
}

fn with(event: &Value, pointer: &str, value: Value) -> Value {
    let mut event = event.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
    event
}

/// Runs a test on both engines, for every type.
fn for_each_type(test: impl Fn(&SchemaRegistry, &Row)) {
    for engine in ENGINES {
        let registry = SchemaRegistry::new(engine);
        let rows = rows();
        assert_eq!(rows.len(), 16);
        rows.iter().for_each(|row| test(&registry, row));
    }
}

#[test]
fn an_event_with_all_members_and_one_with_the_required_ones_are_accepted() {
    for_each_type(|registry, row| {
        for all in [true, false] {
            assert_eq!(broken(registry, &instance(row, all)), Vec::<String>::new(), "{}", row.event_type);
        }
    });
}

#[test]
fn members_that_no_schema_names_are_allowed() {
    for_each_type(|registry, row| {
        let mut event = instance(row, false);
        for parent in ["", "/metadata", "/data"] {
            event = with(&event, &format!("{parent}/unheardOf"), json!([null, {"x": 1}]));
        }
        assert_eq!(broken(registry, &event), Vec::<String>::new(), "{}", row.event_type);
    });
}

#[test]
fn each_required_member_is_missed_where_it_should_be() {
    for_each_type(|registry, row| {
        for member in row.members.iter().filter(|m| m.required) {
            let expected = vec![format!("{} required", member.pointer)];
            let event = instance(row, true);
            assert_eq!(broken(registry, &without(&event, &member.pointer)), expected, "missing");
            assert_eq!(broken(registry, &with(&event, &member.pointer, Value::Null)), expected, "null");
        }
    });
}

#[test]
fn each_optional_member_may_be_null() {
    for_each_type(|registry, row| {
        let mut event = instance(row, true);
        for member in row.members.iter().filter(|m| !m.required) {
            event = with(&event, &member.pointer, Value::Null);
            assert_eq!(
                broken(registry, &event),
                Vec::<String>::new(),
                "{} {}",
                row.event_type,
                member.pointer
            );
        }
    });
}

#[test]
fn each_member_of_a_wrong_type_is_named() {
    for_each_type(|registry, row| {
        for member in &row.members {
            for kind in
                ["string", "number", "boolean", "array", "object"].into_iter().filter(|k| *k != member.kind)
            {
                let event = with(&instance(row, true), &member.pointer, sample(kind));
                assert_eq!(
                    broken(registry, &event),
                    vec![format!("{} type", member.pointer)],
                    "{}",
                    row.event_type
                );
            }
        }
    });
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_alike_by_both_engines() {
    let seed = 20_240_115;
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let [first, second] = ENGINES.map(SchemaRegistry::new);
    let rows = rows();
    let mut refused = 0;
    for _ in 0..2_000 {
        let row = &rows[random.usize(..rows.len())];
        let mut event = instance(row, random.bool());
        for _ in 0..random.usize(..6) {
            let member = &row.members[random.usize(..row.members.len())];
            if event.pointer(member.pointer.rsplit_once('/').unwrap().0).is_some_and(Value::is_object) {
                let kinds = ["string", "number", "boolean", "array", "object"];
                let value = if random.u8(..3) == 0 { Value::Null } else { sample(kinds[random.usize(..5)]) };
                event = with(&event, &member.pointer, value);
            }
        }
        refused += usize::from(!pointers(&first, &event).is_empty());
        assert_eq!(broken(&first, &event), broken(&second, &event), "{event}");
    }
    assert!((500..1_900).contains(&refused), "the sample holds both kinds: {refused}");
    let several =
        json!({"type": "payment.processed", "userId": 5, "metadata": null, "data": {"amount": "a"}});
    for registry in [&first, &second] {
        let told = broken(registry, &several);
        assert_eq!(told.len(), 12, "{told:?}");
        assert!(told.contains(&"/metadata required".to_owned()) && told.contains(&"/userId type".to_owned()));
    }
}

#[test]
fn summaries_name_all_members_and_the_ordering_key() {
    let registry = SchemaRegistry::new(EngineKind::JsonSchema);
    let summaries = registry.schemas();
    assert_eq!(summaries.len(), 16);
    for row in rows() {
        let summary = summaries.iter().find(|s| s.event_type == row.event_type).unwrap();
        let of = |required: bool| {
            let mut names: Vec<String> =
                row.members.iter().filter(|m| m.required == required).map(|m| m.pointer.clone()).collect();
            names.extend(required.then(|| "/type".to_owned()));
            names.sort();
            names
        };
        assert_eq!(summary.required, of(true));
        assert_eq!(summary.optional, of(false));
        assert_eq!(summary.ordering_key, row.ordering);
        assert_eq!(summary.origin, "built-in");
        assert_eq!(registry.ordering_member(&row.event_type, "7"), row.ordering.as_deref());
        assert!(summary.description.as_ref().is_some_and(|text| text.ends_with('.')));
    }
}
