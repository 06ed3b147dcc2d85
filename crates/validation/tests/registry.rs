//! Tests of the registry: the schema of each event, lazy compilation, and use from many threads.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::print_stdout)]

mod common;

use common::{ENGINES, broken, data_record, event_of, record, registry_of, text_record};
use domain::ports::{Describes, EventValidator, SchemaRecord, Verdict};
use event_replay_validation::{EngineKind, SchemaRegistry};
use serde_json::{Value, json};

fn versioned(version: Option<&str>, required: &str) -> SchemaRecord {
    let document = json!({"required": [required], "x-ordering-key": format!("{required}Id")});
    SchemaRecord { event_version: version.map(str::to_owned), ..data_record(&document) }
}

fn event_of_version(version: &str) -> Value {
    let mut event = event_of(json!({}));
    event["version"] = json!(version);
    event
}

#[test]
fn a_schema_without_a_version_serves_every_version_that_has_none_of_its_own() {
    for engine in ENGINES {
        let mut registry = SchemaRegistry::new(engine);
        registry.add(&versioned(Some("2.0"), "two")).unwrap();
        assert_eq!(registry.validate(&event_of_version("1.0")), Verdict::NoSchema);
        assert_eq!(registry.ordering_member("t", "1.0"), None);
        registry.add(&versioned(None, "any")).unwrap();
        assert_eq!(broken(&registry, &event_of_version("1.0")), ["/data/any required"]);
        assert_eq!(broken(&registry, &event_of_version("2.0")), ["/data/two required"]);
        assert_eq!(broken(&registry, &json!({"type": "t"})), ["/data required"]);
        assert_eq!(registry.ordering_member("t", "2.0"), Some("twoId"));
        assert_eq!(registry.ordering_member("t", "3.0"), Some("anyId"));
        let listed: Vec<_> = registry.schemas().into_iter().filter(|s| s.event_type == "t").collect();
        assert_eq!(
            listed.iter().map(|s| s.event_version.as_deref()).collect::<Vec<_>>(),
            [None, Some("2.0")]
        );
        assert!(listed.iter().all(|s| s.origin == "store"));
    }
}

#[test]
fn a_users_schema_replaces_the_built_in_one() {
    for engine in ENGINES {
        let mut registry = SchemaRegistry::new(engine);
        let own = SchemaRecord {
            event_type: "system.error".to_owned(),
            ..data_record(&json!({"required": ["mine"]}))
        };
        registry.add(&SchemaRecord { event_version: Some("9".to_owned()), ..own.clone() }).unwrap();
        let event = json!({"type": "system.error", "version": "1", "data": {}});
        assert_eq!(broken(&registry, &event).len(), 6, "other versions keep the built-in schema");
        registry.add(&own).unwrap();
        assert_eq!(broken(&registry, &event), ["/data/mine required"]);
        assert_eq!(registry.schemas().len(), 17);
    }
}

#[test]
fn a_schema_of_data_looks_at_data_alone() {
    for engine in ENGINES {
        let registry = registry_of(engine, &json!({"type": "object", "required": ["a"]})).unwrap();
        assert_eq!(broken(&registry, &json!({"type": "t"})), ["/data required"]);
        assert_eq!(broken(&registry, &json!({"type": "t", "data": {}})), ["/data/a required"]);
        assert_eq!(broken(&registry, &json!({"type": "t", "data": null})), ["/data type"]);
        assert_eq!(
            broken(&registry, &json!({"type": "t", "data": {"a": null}, "id": 5})),
            Vec::<String>::new()
        );
        let summary = registry.schemas().pop().unwrap();
        assert_eq!(summary.required, ["/data/a"]);
    }
}

#[test]
fn what_has_no_type_is_invalid_and_what_has_no_schema_is_said_so() {
    let registry = SchemaRegistry::new(EngineKind::JsonSchema);
    assert_eq!(broken(&registry, &json!([])), [" type"]);
    assert_eq!(broken(&registry, &json!({})), ["/type required"]);
    assert_eq!(broken(&registry, &json!({"type": null})), ["/type required"]);
    assert_eq!(broken(&registry, &json!({"type": 5})), ["/type type"]);
    assert_eq!(registry.validate(&json!({"type": "custom.event"})), Verdict::NoSchema);
    let result = registry.validate_event(&json!({"type": "custom.event"}));
    assert!(!result.is_valid);
    assert_eq!(result.errors[0].message, "No schema found for event type: custom.event");
    let valid = json!({"id": "1", "type": "system.error", "version": "1", "timestamp": "t", "source": "s", "metadata": {},
                       "data": {"error": "e", "originalEvent": "o"}});
    let result = registry.validate_event(&valid);
    assert!(result.is_valid && result.errors.is_empty());
}

#[test]
fn a_restored_schema_is_compiled_on_first_use_and_judges_as_an_added_one() {
    for engine in ENGINES {
        let mut registry = SchemaRegistry::empty(engine);
        registry.restore(&versioned(None, "any"));
        assert_eq!(broken(&registry, &event_of(json!({}))), ["/data/any required"]);
        assert_eq!(registry.ordering_member("t", "1"), Some("anyId"));
    }
}

#[test]
fn a_restored_schema_that_cannot_be_used_refuses_its_events_and_says_why() {
    for engine in ENGINES {
        for (text, reason) in
            [("{", "not JSON"), ("{\"$ref\":\"#/a\"}", "leads to nothing"), ("{\"type\":5}", "")]
        {
            let mut registry = SchemaRegistry::empty(engine);
            registry.restore(&text_record(text));
            let result = registry.validate_event(&event_of(json!({})));
            assert!(!result.is_valid);
            assert_eq!(result.errors[0].rule, "schema");
            assert!(result.errors[0].message.contains(reason), "{}", result.errors[0].message);
            assert_eq!(registry.ordering_member("t", "1"), None);
            assert_eq!(registry.schemas().len(), 1);
        }
    }
}

#[test]
fn a_pointer_picks_one_schema_of_a_shared_file() {
    let document = json!({"definitions": {
        "a$b": {"required": ["a"], "properties": {"c": {"$ref": "#/definitions/c"}}, "description": "A to b."},
        "c": {"type": "string"}, "alias": {"$ref": "#/definitions/a$b"}
    }});
    for engine in ENGINES {
        let mut registry = SchemaRegistry::empty(engine);
        for (event_type, pointer) in
            [("t", "/definitions/a$b"), ("u", "/definitions/c"), ("v", "#/definitions/alias")]
        {
            let record = SchemaRecord {
                event_type: event_type.to_owned(),
                pointer: pointer.to_owned(),
                describes: Describes::Data,
                ..record(&document)
            };
            registry.add(&record).unwrap();
        }
        let broken_as = |t: &str| broken(&registry, &json!({"type": t, "data": {"c": 1}}));
        assert_eq!(broken_as("t"), ["/data/a required", "/data/c type"]);
        assert_eq!(broken_as("u"), ["/data type"]);
        assert_eq!(broken_as("v"), ["/data/a required", "/data/c type"]);
        let aliased = registry.schemas().pop().unwrap();
        assert_eq!(aliased.description.as_deref(), Some("A to b."));
        assert_eq!(
            (aliased.required, aliased.optional),
            (vec!["/data/a".to_owned()], vec!["/data/c".to_owned()])
        );
    }
}

#[test]
fn eight_threads_get_the_same_verdicts_as_one() {
    let good = json!({"id": "1", "type": "system.error", "version": "1", "timestamp": "t", "source": "s", "metadata": {},
                      "data": {"error": "e", "originalEvent": "o"}});
    let mut bad = good.clone();
    bad["data"]["error"] = json!(5);
    for engine in ENGINES {
        let registry = SchemaRegistry::new(engine);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let (registry, good, bad) = (&registry, &good, &bad);
                scope.spawn(move || {
                    for round in 0..1_000 {
                        if (round + thread) % 2 == 0 {
                            assert_eq!(registry.validate(good), Verdict::Valid);
                        } else {
                            assert_eq!(broken(registry, bad), ["/data/error type"]);
                        }
                    }
                });
            }
        });
    }
}

#[test]
fn engines_have_names() {
    for engine in ENGINES {
        assert_eq!(engine.as_str().parse(), Ok(engine));
        assert_eq!(SchemaRegistry::new(engine).engine(), engine);
    }
    assert_eq!(EngineKind::default(), EngineKind::JsonSchema);
    let unknown = "ajv".parse::<EngineKind>().unwrap_err();
    assert_eq!(unknown.to_string(), "there is no validation engine \"ajv\": choose jsonschema or valico");
}

#[test]
fn sentences_quote_no_more_than_an_excerpt() {
    let secret = "s".repeat(10_000);
    for engine in ENGINES {
        let schema = json!({"properties": {"x": {"type": "number", "enum": [1], "maxLength": 5, "pattern": "^b", "const": secret.clone() + "x"}}});
        let registry = registry_of(engine, &schema).unwrap();
        let result = registry.validate_event(&event_of(json!({"x": secret})));
        assert_eq!(result.errors.len(), 5);
        assert!(result.errors.iter().all(|e| e.message.len() < 300), "{:?}", result.errors);
    }
}
