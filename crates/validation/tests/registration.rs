//! Tests of registration: the refused schemas, and the sentence of each refusal.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::print_stdout)]

mod common;

use common::{ENGINES, broken, event_of, record, registry_of, text_record};
use domain::ports::{EventValidator, SchemaRecord, Verdict};
use event_replay_validation::{SchemaError, SchemaRegistry};
use serde_json::{Value, json};

fn refusals(record: &SchemaRecord) -> Vec<SchemaError> {
    let refuse = |engine| {
        let mut registry = SchemaRegistry::empty(engine);
        let error = registry.add(record).unwrap_err();
        assert_eq!(
            registry.validate(&event_of(json!({}))),
            Verdict::NoSchema,
            "a refused schema serves nothing"
        );
        error
    };
    ENGINES.map(refuse).to_vec()
}

#[track_caller]
fn refused(schema: &Value, words: &[&str]) {
    for error in refusals(&record(schema)) {
        let sentence = error.to_string();
        assert!(words.iter().all(|word| sentence.contains(word)), "{sentence:?} lacks one of {words:?}");
    }
}

#[test]
fn what_is_not_json_is_refused_with_its_place() {
    for text in ["", "{", "{\"type\": }", "{} {}", "nul", "\u{feff}{}"] {
        for error in refusals(&text_record(text)) {
            assert!(
                matches!(&error, SchemaError::NotJson { detail } if detail.contains("line 1")),
                "{error}"
            );
        }
    }
}

#[test]
fn what_is_neither_object_nor_boolean_is_refused() {
    for (schema, kind) in
        [(json!([]), "an array"), (json!("x"), "a string"), (json!(null), "null"), (json!(1), "a number")]
    {
        refused(&schema, &[kind, "a schema is an object, true or false"]);
    }
    refused(&json!({"properties": {"a": 5}}), &["/properties/a", "a number"]);
}

#[test]
fn a_pointer_to_nothing_is_refused() {
    for pointer in ["/definitions/none", "definitions", "#/nowhere"] {
        let record = SchemaRecord { pointer: pointer.to_owned(), ..record(&json!({"definitions": {}})) };
        for error in refusals(&record) {
            assert!(matches!(error, SchemaError::NoSuchPointer { .. }), "{error}");
        }
    }
}

#[test]
fn what_breaks_the_rules_of_its_draft_is_refused_with_its_place() {
    refused(&json!({"properties": {"a": {"type": "strin"}}}), &["/properties/a/type", "draft 7"]);
    refused(&json!({"required": "a"}), &["/required", "draft 7"]);
    refused(&json!({"minLength": -1}), &["/minLength"]);
    refused(&json!({"type": "object", "properties": []}), &["/properties"]);
    refused(
        &json!({"properties": {"a": {"$ref": "#/definitions/b"}}, "definitions": {"b": {"enum": 1}}}),
        &["/definitions/b/enum"],
    );
    refused(&json!({"$schema": "http://json-schema.org/draft-05/schema#"}), &["draft-05", "2020-12"]);
    refused(&json!({"$schema": 7}), &["not a known draft"]);
    refused(&json!({"x-ordering-key": 5}), &["x-ordering-key"]);
}

#[test]
fn a_word_of_a_later_draft_is_refused_rather_than_ignored() {
    refused(
        &json!({"properties": {"a": {"prefixItems": [true]}}}),
        &["/properties/a", "prefixItems", "\"$schema\""],
    );
    refused(&json!({"unevaluatedProperties": false}), &["the schema uses", "read as draft 7"]);
}

#[test]
fn a_reference_to_nowhere_is_refused() {
    for reference in ["#/definitions/none", "#none", "#/definitions/a/b", "#/%FF"] {
        let schema = json!({"properties": {"x": {"$ref": reference}}, "definitions": {"a": {}}});
        refused(&schema, &[reference, "/properties/x", "leads to nothing"]);
    }
    refused(
        &json!({"items": {"$ref": "#/definitions/a"}, "definitions": {"a": {"not": {"$ref": "#/b"}}}}),
        &["/definitions/a/not", "#/b"],
    );
}

#[test]
fn a_reference_out_of_the_file_is_refused() {
    for reference in [
        "https://example.com/a.json",
        "http://127.0.0.1:1/x",
        "other.json",
        "file:///etc/passwd",
        "../a.json#/b",
    ] {
        refused(&json!({"items": {"$ref": reference}}), &[reference, "never read", "#/definitions/NAME"]);
    }
}

#[test]
fn a_reference_to_itself_is_refused() {
    refused(&json!({"$ref": "#"}), &["# → #", "back to itself"]);
    refused(&json!({"allOf": [{"not": {"$ref": "#"}}]}), &["back to itself"]);
    refused(
        &json!({"properties": {"x": {"$ref": "#/definitions/a"}},
                "definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"anyOf": [{"$ref": "#/definitions/a"}]}}}),
        &["#/definitions/a → #/definitions/b → #/definitions/a"],
    );
    refused(
        &json!({"$id": "https://example.com/me", "if": {"$ref": "https://example.com/me"}}),
        &["back to itself"],
    );
    refused(&json!({"dependencies": {"a": {"$ref": "#"}}}), &["back to itself"]);
}

#[test]
fn references_that_depend_on_the_reader_are_refused() {
    let draft = "https://json-schema.org/draft/2020-12/schema";
    let document = json!({"$schema": draft, "items": {"$dynamicRef": "#node"}, "$dynamicAnchor": "node"});
    refused(&document, &["$dynamicRef", "/items", "use \"$ref\""]);
}

#[test]
fn a_pattern_that_cannot_run_in_linear_time_is_refused() {
    for pattern in ["(", "[a", "(?=a)b", "(a)\\1", "a{2000}{2000}"] {
        refused(&json!({"properties": {"x": {"pattern": pattern}}}), &[pattern, "/properties/x"]);
    }
    refused(&json!({"patternProperties": {"(?!a)": {}}}), &["(?!a)", "/patternProperties"]);
}

#[test]
fn a_hostile_pattern_answers_at_once() {
    // A backtracking engine would take longer than the age of the universe. This test proves the bound by ending at
    // all.
    let text = "a".repeat(100_000) + "!";
    for engine in ENGINES {
        let registry = registry_of(engine, &json!({"properties": {"x": {"pattern": "^(a+)+$"}}})).unwrap();
        assert_eq!(broken(&registry, &event_of(json!({"x": text}))), ["/data/x pattern"]);
        assert!(broken(&registry, &event_of(json!({"x": text.trim_end_matches('!')}))).is_empty());
    }
}

#[test]
fn schemas_that_contain_themselves_deeper_down_are_accepted() {
    let tree = json!({"$ref": "#/definitions/node", "definitions": {"node": {
        "type": "object", "required": ["name"],
        "properties": {"left": {"$ref": "#/definitions/node"}, "right": {"$ref": "#/definitions/node"}},
    }}});
    for engine in ENGINES {
        let registry = registry_of(engine, &tree).unwrap();
        assert!(broken(&registry, &event_of(json!({"name": 1, "left": {"name": 2}}))).is_empty());
        let bad = json!({"name": 1, "left": {"name": 1, "right": {"left": 5}}});
        let expected = ["/data/left/right/left type", "/data/left/right/name required"];
        assert_eq!(broken(&registry, &event_of(bad)), expected);
    }
}

#[test]
fn anchors_and_schemas_with_an_id_of_their_own_are_found() {
    let document = json!({"$id": "https://example.com/order.json", "properties": {
        "a": {"$ref": "item.json"}, "b": {"$ref": "item.json#part"}, "c": {"$ref": "#/definitions/item"}
    }, "definitions": {"item": {"$id": "item.json", "type": "object", "definitions": {
        "part": {"$id": "#part", "type": "string"}}}}});
    for engine in ENGINES {
        let registry = registry_of(engine, &document).unwrap();
        let event = event_of(json!({"a": 1, "b": 1, "c": 1}));
        assert_eq!(broken(&registry, &event), ["/data/a type", "/data/b type", "/data/c type"]);
    }
}

#[test]
fn a_definition_that_is_not_used_may_be_wrong() {
    let document =
        json!({"definitions": {"used": {"type": "object"}, "broken": {"$ref": "https://example.com"}}});
    for engine in ENGINES {
        let mut registry = SchemaRegistry::empty(engine);
        let record = SchemaRecord { pointer: "#/definitions/used".to_owned(), ..record(&document) };
        registry.add(&record).unwrap();
        assert_eq!(registry.validate(&event_of(json!({}))), Verdict::Valid);
    }
}
