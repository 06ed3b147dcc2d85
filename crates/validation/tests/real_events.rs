//! Real webhook events of another project, with the schemas of their publishers.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::print_stdout)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use common::{ENGINES, pointers};
use domain::ports::{Describes, EventValidator, SchemaRecord, Verdict};
use event_replay_validation::SchemaRegistry;
use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};

/// A schema that accepts no event. `location` must have `type` and `details`. But `additionalProperties: false`
/// without `properties` forbids every member. Every draft-7 validator refuses all its events.
const ACCEPTS_NOTHING: &str = "github.secret_scanning_alert_location.created";

/// Returns the folder of the real data. If it is absent, prints a note and returns `None`.
fn folder() -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("EVENT_REPLAY_REAL_DATA").map_or(default, PathBuf::from);
    let there = folder.join("github-events.ndjson.gz").is_file();
    if !there {
        println!("NOT RUN: no real events in {} (set EVENT_REPLAY_REAL_DATA)", folder.display());
    }
    there.then_some(folder)
}

fn unzipped(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

struct Real {
    events: Vec<Value>,
    text: String,
    document: Value,
    /// Map from event type to the name of its definition.
    names: BTreeMap<String, String>,
}

fn real() -> Option<Real> {
    let folder = folder()?;
    let lines = unzipped(&folder.join("github-events.ndjson.gz"));
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text = unzipped(&folder.join("github-webhooks.schema.json.gz"));
    let document: Value = serde_json::from_str(&text).unwrap();
    let definitions = document["definitions"].as_object().unwrap();
    let types: BTreeSet<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let mut names = BTreeMap::new();
    for event_type in types {
        let bare = event_type.strip_prefix("github.").unwrap();
        let (name, action) = bare.split_once('.').unwrap_or((bare, ""));
        let candidates = [format!("{name}${action}"), format!("{name}_event")];
        if let Some(found) = candidates.into_iter().find(|candidate| definitions.contains_key(candidate)) {
            names.insert(event_type.to_owned(), found);
        }
    }
    Some(Real { events, text, document, names })
}

impl Real {
    fn records(&self) -> impl Iterator<Item = SchemaRecord> {
        self.names.iter().map(|(event_type, name)| SchemaRecord {
            event_type: event_type.clone(),
            event_version: None,
            document: self.text.clone(),
            pointer: format!("/definitions/{name}"),
            describes: Describes::Data,
            added_at: jiff::Timestamp::UNIX_EPOCH,
        })
    }
}

#[test]
fn real_events_are_judged_as_by_an_independent_validator() {
    let Some(real) = real() else { return };
    let [first, second] = ENGINES.map(|engine| {
        let mut registry = SchemaRegistry::new(engine);
        real.records().for_each(|record| registry.add(&record).unwrap());
        registry
    });
    let mut counts = [0; 3];
    for event in &real.events {
        let verdict = first.validate(event);
        counts[match &verdict {
            Verdict::Valid => 0,
            Verdict::Invalid(_) => 1,
            Verdict::NoSchema => 2,
        }] += 1;
        assert_eq!(pointers(&first, event), pointers(&second, event), "{}", event["id"]);
    }
    assert_eq!(real.events.len(), 290);
    assert_eq!(counts, [123, 112, 55], "accepted, rejected, without a schema");
}

#[test]
fn every_real_schema_accepts_one_instance_and_refuses_five_mutants_of_it() {
    let Some(real) = real() else { return };
    let (mut schemas, mut generated, mut refused) = (0, 0, 0);
    let [first, second] = ENGINES.map(|engine| {
        let mut registry = SchemaRegistry::empty(engine);
        real.records().for_each(|record| registry.restore(&record));
        registry
    });
    for (event_type, name) in &real.names {
        schemas += 1;
        let schema = &real.document["definitions"][name];
        let of_type = real.events.iter().filter(|event| event["type"] == event_type.as_str());
        let mut accepted = of_type.filter(|event| first.validate(event) == Verdict::Valid);
        let event = accepted.next().cloned().unwrap_or_else(|| {
            generated += 1;
            json!({"type": event_type, "data": minimal(&real.document, schema)})
        });
        if event_type == ACCEPTS_NOTHING {
            for registry in [&first, &second] {
                let said = pointers(registry, &event).into_iter().collect::<Vec<_>>();
                assert_eq!(said, ["/data/location/details", "/data/location/type"]);
            }
            continue;
        }
        for registry in [&first, &second] {
            assert!(pointers(registry, &event).is_empty(), "{event_type}: {:?}", registry.validate(&event));
        }
        let mut faults = Vec::new();
        mutants(&real.document, schema, &event["data"], "/data", &mut faults);
        let chosen = spread(&faults);
        assert_eq!(chosen.len(), 5, "{event_type} has {} faults", faults.len());
        for (fault, pointer, value) in chosen {
            let mutant = with(&event, pointer, value.clone());
            refused += 1;
            for registry in [&first, &second] {
                let said = pointers(registry, &mutant);
                assert!(
                    !said.is_empty(),
                    "{event_type}: {fault} at {pointer} went unseen by {}",
                    registry.engine()
                );
            }
        }
    }
    println!("{schemas} schemas, {generated} instances generated, {refused} mutants refused");
    assert_eq!(refused, (schemas - 1) * 5);
    assert!(schemas > 50, "{schemas}");
}

/// One fault: its name, its place, and the new value (`None`: the member is removed).
type Fault = (&'static str, String, Option<Value>);

/// Returns up to five faults, spread over as many kinds as possible.
fn spread(faults: &[Fault]) -> Vec<&Fault> {
    let mut by_kind: BTreeMap<&str, Vec<&Fault>> = BTreeMap::new();
    faults.iter().for_each(|fault| by_kind.entry(fault.0).or_default().push(fault));
    let rounds = (0..faults.len()).flat_map(|round| by_kind.values().filter_map(move |kind| kind.get(round)));
    rounds.copied().take(5).collect()
}

fn with(event: &Value, pointer: &str, value: Option<Value>) -> Value {
    let mut event = event.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let object = event.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => object.insert(name.to_owned(), value),
        None => object.remove(name),
    };
    event
}

/// Follows references (only `#/definitions/NAME`) and `oneOf`s with a single choice.
fn resolved<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    loop {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            schema = document.pointer(reference.trim_start_matches('#')).unwrap();
        } else if let Some([only]) = schema["oneOf"].as_array().map(Vec::as_slice) {
            schema = only;
        } else {
            return schema;
        }
    }
}

/// Collects every single fault that the schema surely refuses. For alternatives, it collects the faults that each of
/// them refuses.
fn mutants(document: &Value, schema: &Value, value: &Value, at: &str, into: &mut Vec<Fault>) {
    let schema = resolved(document, schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        mutants(document, part, value, at, into);
    }
    if let Some([first, others @ ..]) = schema["oneOf"].as_array().map(Vec::as_slice) {
        let of = |alternative| {
            let mut faults = Vec::new();
            mutants(document, alternative, value, at, &mut faults);
            faults
        };
        let others: Vec<Vec<Fault>> = others.iter().map(of).collect();
        let everywhere =
            |fault: &Fault| others.iter().all(|o| o.iter().any(|f| f.0 == fault.0 && f.1 == fault.1));
        into.extend(of(first).into_iter().filter(everywhere));
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        into.push(("dropped", format!("{at}/{name}"), None));
    }
    if schema["additionalProperties"] == json!(false) && schema.get("patternProperties").is_none() {
        into.push(("additional", format!("{at}/never_heard_of"), Some(json!(1))));
    }
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        let Some(there) = object.get(name) else { continue };
        let (inner, at) = (resolved(document, inner), format!("{at}/{name}"));
        if let Some(kind) = inner["type"].as_str() {
            into.push(("null", at.clone(), Some(Value::Null)));
            let wrong = if kind == "string" { json!(5) } else { json!("text") };
            into.push(("type", at.clone(), Some(wrong)));
        }
        if inner.get("enum").or(inner.get("const")).is_some() {
            into.push(("value", at.clone(), Some(json!("none of these"))));
        }
        mutants(document, inner, there, &at, into);
    }
}

/// Returns a small value that the schema accepts. It handles the kinds of schemas that occur in this data.
fn minimal(document: &Value, schema: &Value) -> Value {
    let schema = resolved(document, schema);
    if let Some(value) = schema.get("const").or(schema["enum"].get(0)) {
        return value.clone();
    }
    if let Some(first) = schema["oneOf"].get(0) {
        return minimal(document, first);
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return merged(document, parts, schema);
    }
    let kind = schema["type"].as_str().or(schema["type"].get(0).and_then(Value::as_str)).unwrap_or("object");
    match kind {
        "object" => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let members =
                required.map(|name| (name.to_owned(), minimal(document, &schema["properties"][name])));
            Value::Object(members.collect())
        }
        "array" => {
            let count = schema["minItems"].as_u64().unwrap_or(0);
            let item = |index: u64| schema["items"].get(index as usize).unwrap_or(&schema["items"]);
            (0..count).map(|index| minimal(document, item(index))).collect()
        }
        "string" => json!("text"),
        "integer" | "number" => json!(schema["minimum"].as_f64().unwrap_or(1.0).max(1.0) as i64),
        "boolean" => json!(true),
        _ => Value::Null,
    }
}

/// Joins the members of all parts. If two parts describe the same member, both descriptions apply.
fn merged(document: &Value, parts: &[Value], schema: &Value) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for layer in parts.iter().map(|part| resolved(document, part)).chain([schema]) {
        for (name, inner) in layer["properties"].as_object().into_iter().flatten() {
            let both = match properties.remove(name) {
                Some(before) => json!({"allOf": [before, inner]}),
                None => inner.clone(),
            };
            properties.insert(name.clone(), both);
        }
        required.extend(layer["required"].as_array().into_iter().flatten().cloned());
    }
    let fixed = parts.iter().map(|part| resolved(document, part));
    let mut fixed = fixed.chain([schema]).filter(|layer| layer["type"] != json!("object"));
    match fixed.next_back().filter(|_| properties.is_empty() && required.is_empty()) {
        Some(scalar) if scalar.get("allOf").is_none() => minimal(document, scalar),
        _ => minimal(document, &json!({"type": "object", "properties": properties, "required": required})),
    }
}
