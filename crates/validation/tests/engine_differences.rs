//! The known differences between the engines. `docs/validation-engines.md` lists each of them. This test fails if one
//! changes.
// Helpers of tests may unwrap as tests do.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, clippy::print_stdout)]

mod common;

use common::{ENGINES, broken, event_of, registry_of};
use serde_json::Value;

/// A schema and a value of `data` as JSON texts, and the results of jsonschema and of valico. A result is a list of
/// `POINTER RULE` joined by commas. It is empty for an accepted value, and `refused` for a refused schema.
const DIFFERENCES: &[(&str, &str, &str, &str)] = &[
    // Numbers.
    (r#"{"multipleOf": 0.01}"#, "4.35", "", "/data multipleOf"),
    (r#"{"multipleOf": 0.1}"#, "0.3", "", "/data multipleOf"),
    (r#"{"multipleOf": 0.5}"#, "1e308", "", "/data multipleOf"),
    (r#"{"multipleOf": 3}"#, "9007199254740993", "", "/data multipleOf"),
    (r#"{"maximum": 9007199254740992}"#, "9007199254740993", "/data maximum", ""),
    (r#"{"minimum": 9007199254740993}"#, "9007199254740992", "/data minimum", ""),
    (r#"{"const": 9007199254740992}"#, "9007199254740993", "/data const", ""),
    (r#"{"enum": [9007199254740992]}"#, "9007199254740993", "/data enum", ""),
    (r#"{"exclusiveMaximum": 3}"#, "3", "/data exclusiveMaximum", "/data maximum"),
    (r#"{"exclusiveMinimum": 3}"#, "3", "/data exclusiveMinimum", "/data minimum"),
    // Whole numbers that are written with a decimal point.
    (
        r#"{"$schema": "https://json-schema.org/draft/2019-09/schema", "contains": {"type": "integer"}, "minContains": 2.0}"#,
        "[1]",
        "/data contains",
        "refused",
    ),
    (
        r#"{"$schema": "https://json-schema.org/draft/2019-09/schema", "contains": {"type": "integer"}, "maxContains": 2.0}"#,
        "[1, 2, 3]",
        "/data contains",
        "refused",
    ),
    // Equality of numbers inside arrays and objects.
    (r#"{"uniqueItems": true}"#, "[1, 1.0]", "/data uniqueItems", ""),
    (r#"{"const": [1]}"#, "[1.0]", "", "/data const"),
    (r#"{"enum": [{"a": 1}]}"#, r#"{"a": 1.0}"#, "", "/data enum"),
    // Patterns.
    (r#"{"pattern": "^\\d$"}"#, r#""٣""#, "/data pattern", ""),
    (r#"{"pattern": "^\\w$"}"#, r#""é""#, "/data pattern", ""),
    (r#"{"pattern": "^\\s$"}"#, r#""\ufeff""#, "", "/data pattern"),
    (r#"{"pattern": "^.$"}"#, r#""\r""#, "/data pattern", ""),
    (r#"{"pattern": "^[a&&b]$"}"#, r#""a""#, "", "/data pattern"),
    (r#"{"pattern": "^[[]$"}"#, r#""[""#, "", "refused"),
    (r#"{"pattern": "^\\cA$"}"#, r#""\u0001""#, "", "refused"),
    // Names of members.
    (r#"{"properties": {"`": {"type": "string"}}}"#, r#"{"`": "a"}"#, "", "/data $ref"),
    (r#"{"properties": {"properties": {"properties": {"type": {}}}}}"#, "{}", "", "refused"),
    // Other drafts, and keywords that only later drafts define.
    (r#"{"enum": []}"#, "1", "/data enum", "refused"),
    (
        r#"{"$schema": "http://json-schema.org/draft-04/schema#", "type": "integer"}"#,
        "1.0",
        "/data type",
        "refused",
    ),
    (r#"{"$schema": "http://json-schema.org/draft-06/schema#"}"#, "1", "", "refused"),
    (
        r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "prefixItems": [{"type": "string"}], "items": false}"#,
        "[1, 2]",
        "/data/0 type, /data/1 not",
        "refused",
    ),
    (
        r#"{"$schema": "https://json-schema.org/draft/2019-09/schema", "items": [{}], "unevaluatedItems": false}"#,
        "[1, 2]",
        "/data unevaluatedItems",
        "/data/1 unevaluatedItems",
    ),
    (
        r#"{"$schema": "https://json-schema.org/draft/2019-09/schema", "properties": {"a": {"type": "string"}},
            "unevaluatedProperties": false}"#,
        r#"{"a": 1}"#,
        "/data/a type",
        "/data/a type, /data/a unevaluatedProperties",
    ),
];

#[test]
fn the_engines_differ_where_the_list_says_and_as_it_says() {
    let mut changed = Vec::new();
    for (schema, data, first, second) in DIFFERENCES {
        assert_ne!(first, second, "no difference: {schema}");
        let schema: Value = serde_json::from_str(schema).unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        let said = ENGINES.map(|engine| match registry_of(engine, &schema) {
            Ok(registry) => broken(&registry, &event_of(data.clone())).join(", "),
            Err(_) => "refused".to_owned(),
        });
        if said != [*first, *second] {
            changed.push(format!("{schema} of {data}: {said:?}"));
        }
    }
    assert!(changed.is_empty(), "{}", changed.join("\n"));
}

/// By itself, valico counts a reference without a target as valid, and accepts a date with a space. Our checks
/// prevent both.
#[test]
fn what_valico_alone_would_let_pass_is_caught_before_it() {
    let mut scope = valico::json_schema::Scope::new();
    let nowhere = serde_json::json!({"$ref": "#/definitions/none"});
    let compiled = scope.compile_and_return(nowhere.clone(), false).unwrap();
    assert!(compiled.validate(&serde_json::json!(1)).is_valid(), "valico's own mistake");
    assert!(registry_of(event_replay_validation::EngineKind::Valico, &nowhere).is_err());

    let mut scope = valico::json_schema::Scope::new();
    let dated = serde_json::json!({"format": "date-time"});
    let compiled = scope.compile_and_return(dated.clone(), false).unwrap();
    assert!(compiled.validate(&serde_json::json!("2024-01-01 00:00:00Z")).is_valid(), "valico's own mistake");
    for engine in ENGINES {
        let registry = registry_of(engine, &dated).unwrap();
        assert!(
            broken(&registry, &event_of("never".into())).is_empty(),
            "formats are remarks in both engines"
        );
    }
}
