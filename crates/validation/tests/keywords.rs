//! Tests of each keyword: both engines must return the same result for the same value.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::print_stdout)]

mod common;

use common::{ENGINES, broken, event_of, registry_of};
use serde_json::{Value, json};

/// Returns cases: a schema of `data`, a value of `data`, and the violations (`POINTER RULE`; none: accepted).
fn cases() -> Vec<(Value, Value, Vec<&'static str>)> {
    let properties = |p: Value| json!({ "properties": p });
    vec![
        (json!({"type": "object"}), json!([]), vec!["/data type"]),
        (json!({"type": ["object", "null"]}), json!(null), vec![]),
        (json!({"type": "string"}), json!(null), vec!["/data type"]),
        (properties(json!({"n": {"type": "integer"}})), json!({"n": 1.0}), vec![]),
        (properties(json!({"n": {"type": "integer"}})), json!({"n": 1.5}), vec!["/data/n type"]),
        (json!({"required": ["a", "b"]}), json!({}), vec!["/data/a required", "/data/b required"]),
        (json!({"required": ["a/b", "c~d"]}), json!({}), vec!["/data/a~1b required", "/data/c~0d required"]),
        (properties(json!({"a/b": {"type": "string"}})), json!({"a/b": 1}), vec!["/data/a~1b type"]),
        (properties(json!({"~": {"required": ["/"]}})), json!({"~": {}}), vec!["/data/~0/~1 required"]),
        (properties(json!({"": {"type": "string"}})), json!({"": 1}), vec!["/data/ type"]),
        (properties(json!({"ключ": {"type": "string"}})), json!({"ключ": 1}), vec!["/data/ключ type"]),
        (properties(json!({"a b%": {"type": "string"}})), json!({"a b%": 1}), vec!["/data/a b% type"]),
        (properties(json!({"x": {"const": 1}})), json!({"x": 2}), vec!["/data/x const"]),
        (properties(json!({"x": {"const": 1}})), json!({"x": 1.0}), vec![]),
        (properties(json!({"x": {"enum": ["a", null]}})), json!({"x": "b"}), vec!["/data/x enum"]),
        (properties(json!({"x": {"minimum": 3}})), json!({"x": 2}), vec!["/data/x minimum"]),
        (properties(json!({"x": {"maximum": 3}})), json!({"x": 4}), vec!["/data/x maximum"]),
        (properties(json!({"x": {"multipleOf": 2}})), json!({"x": 3}), vec!["/data/x multipleOf"]),
        (properties(json!({"x": {"minLength": 2}})), json!({"x": "é"}), vec!["/data/x minLength"]),
        (properties(json!({"x": {"maxLength": 2}})), json!({"x": "éé"}), vec![]),
        (properties(json!({"x": {"maxLength": 2}})), json!({"x": "abc"}), vec!["/data/x maxLength"]),
        (properties(json!({"x": {"pattern": "^[a-z]+$"}})), json!({"x": "A"}), vec!["/data/x pattern"]),
        (json!({"minItems": 2}), json!([1]), vec!["/data minItems"]),
        (json!({"maxItems": 1}), json!([1, 2]), vec!["/data maxItems"]),
        (json!({"uniqueItems": true}), json!([1, 1]), vec!["/data uniqueItems"]),
        (json!({"items": {"type": "string"}}), json!(["a", 1, 2]), vec!["/data/1 type", "/data/2 type"]),
        (
            json!({"items": [{"type": "string"}], "additionalItems": false}),
            json!(["a", 1]),
            vec!["/data additionalItems"],
        ),
        (json!({"contains": {"type": "string"}}), json!([1]), vec!["/data contains"]),
        (json!({"minProperties": 1}), json!({}), vec!["/data minProperties"]),
        (json!({"maxProperties": 1}), json!({"a": 1, "b": 2}), vec!["/data maxProperties"]),
        (
            json!({"properties": {"a": {}}, "additionalProperties": false}),
            json!({"a": 1, "b": 2, "c/d": 3}),
            vec!["/data/b additionalProperties", "/data/c~1d additionalProperties"],
        ),
        (
            json!({"additionalProperties": false}),
            json!({"a": 1, "b": {}}),
            vec!["/data/a additionalProperties", "/data/b additionalProperties"],
        ),
        (
            properties(json!({"additionalProperties": false})),
            json!({"additionalProperties": {"a": 1}}),
            vec!["/data/additionalProperties not"],
        ),
        (
            properties(json!({"propertyNames": false})),
            json!({"propertyNames": {"a": 1}}),
            vec!["/data/propertyNames not"],
        ),
        (
            json!({"propertyNames": false}),
            json!({"a": 1, "b": 1}),
            vec!["/data/a propertyNames", "/data/b propertyNames"],
        ),
        (json!({"additionalProperties": {"type": "string"}}), json!({"a": 1}), vec!["/data/a type"]),
        (
            json!({"patternProperties": {"^n_": {"type": "number"}}}),
            json!({"n_a": "1", "s": "x"}),
            vec!["/data/n_a type"],
        ),
        (
            json!({"propertyNames": {"maxLength": 3}}),
            json!({"long/one": 1, "ok": 2}),
            vec!["/data/long~1one propertyNames"],
        ),
        (json!({"dependencies": {"a": ["b"]}}), json!({"a": 1}), vec!["/data/b required"]),
        (json!({"dependencies": {"a": {"required": ["c"]}}}), json!({"a": 1}), vec!["/data/c required"]),
        (
            json!({"allOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({}),
            vec!["/data/a required", "/data/b required"],
        ),
        (json!({"allOf": [{"required": ["a"]}, {"required": ["a"]}]}), json!({}), vec!["/data/a required"]),
        (json!({"anyOf": [{"type": "string"}, {"type": "array"}]}), json!({}), vec!["/data anyOf"]),
        (json!({"oneOf": [{"type": "object"}, {"required": []}]}), json!({}), vec!["/data oneOf"]),
        (json!({"oneOf": [{"type": "string"}, {"type": "array"}]}), json!({}), vec!["/data oneOf"]),
        (json!({"not": {"required": ["a"]}}), json!({"a": 1}), vec!["/data not"]),
        (properties(json!({"a": false})), json!({"a": 1}), vec!["/data/a not"]),
        (properties(json!({"a": true})), json!({"a": 1}), vec![]),
        (
            json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}),
            json!({"a": 1}),
            vec!["/data/b required"],
        ),
        (
            json!({"if": {"required": ["a"]}, "else": {"required": ["c"]}}),
            json!({}),
            vec!["/data/c required"],
        ),
        (
            json!({"type": "object", "properties": {"kids": {"items": {"$ref": "#"}}, "name": {"type": "string"}}}),
            json!({"kids": [{"name": "a", "kids": [{"name": 1}, []]}]}),
            vec!["/data/kids/0/kids/0/name type", "/data/kids/0/kids/1 type"],
        ),
        (
            json!({"$ref": "#/definitions/a%20b/c~1d", "definitions": {"a b": {"c/d": {"required": ["x"]}}}}),
            json!({}),
            vec!["/data/x required"],
        ),
        (
            json!({"$ref": "#/definitions/a", "required": ["ignored"], "definitions": {"a": {}}}),
            json!({}),
            vec![],
        ),
        (properties(json!({"$ref": {"type": "string"}})), json!({"$ref": 1}), vec!["/data/$ref type"]),
        (
            properties(json!({"enum": {"type": "string"}, "required": {"type": "string"}})),
            json!({"enum": 1}),
            vec!["/data/enum type"],
        ),
        (properties(json!({"when": {"format": "date-time"}})), json!({"when": "yesterday"}), vec![]),
        (properties(json!({"x": {"contentEncoding": "base64"}})), json!({"x": "%"}), vec![]),
        (
            json!({"default": {"type": 5}, "examples": [{"$ref": "https://nowhere.example"}]}),
            json!({}),
            vec![],
        ),
        (json!({"x-note": {"type": 5}, "title": "t"}), json!({}), vec![]),
        (
            json!({"$schema": "https://json-schema.org/draft/2019-09/schema", "dependentRequired": {"a": ["b"]}}),
            json!({"a": 1}),
            vec!["/data/b required"],
        ),
        (
            json!({"$schema": "https://json-schema.org/draft/2019-09/schema", "$ref": "#/$defs/a", "required": ["r"],
                   "$defs": {"a": {"required": ["x"]}}}),
            json!({}),
            vec!["/data/r required", "/data/x required"],
        ),
        (
            json!({"$schema": "https://json-schema.org/draft/2019-09/schema", "properties": {"a": {}},
                   "unevaluatedProperties": false}),
            json!({"a": 1}),
            vec![],
        ),
    ]
}

#[test]
fn both_engines_name_the_same_pointer_and_rule_for_every_keyword() {
    let mut wrong = Vec::new();
    for engine in ENGINES {
        for (schema, data, expected) in cases() {
            let said = match registry_of(engine, &schema) {
                Ok(registry) => broken(&registry, &event_of(data.clone())),
                Err(error) => vec![format!("refused: {error}")],
            };
            if said != expected {
                wrong.push(format!("{engine}: {schema}\n  of {data}\n  said {said:?}\n  not  {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
