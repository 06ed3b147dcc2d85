//! The keywords of JSON Schema: keywords that hold schemas, keywords that apply to the same value, and keywords that
//! only check.

use serde_json::{Map, Value};

use crate::draft::Draft;

/// The form in which a keyword holds schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    Many,
    OneOrMany,
    Map,
    /// A map of schemas or of lists of names.
    Dependencies,
}

/// A keyword that applies other schemas.
#[derive(Debug)]
pub(crate) struct Applicator {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Whether the held schemas apply to the same value as this schema, and not to a part of it.
    pub(crate) in_place: bool,
    since: Draft,
}

const fn applicator(name: &'static str, shape: Shape, in_place: bool, since: Draft) -> Applicator {
    Applicator { name, shape, in_place, since }
}

const APPLICATORS: [Applicator; 21] = [
    applicator("properties", Shape::Map, false, Draft::Draft4),
    applicator("patternProperties", Shape::Map, false, Draft::Draft4),
    applicator("additionalProperties", Shape::One, false, Draft::Draft4),
    applicator("items", Shape::OneOrMany, false, Draft::Draft4),
    applicator("additionalItems", Shape::One, false, Draft::Draft4),
    applicator("dependencies", Shape::Dependencies, true, Draft::Draft4),
    applicator("allOf", Shape::Many, true, Draft::Draft4),
    applicator("anyOf", Shape::Many, true, Draft::Draft4),
    applicator("oneOf", Shape::Many, true, Draft::Draft4),
    applicator("not", Shape::One, true, Draft::Draft4),
    applicator("contains", Shape::One, false, Draft::Draft6),
    applicator("propertyNames", Shape::One, false, Draft::Draft6),
    applicator("if", Shape::One, true, Draft::Draft7),
    applicator("then", Shape::One, true, Draft::Draft7),
    applicator("else", Shape::One, true, Draft::Draft7),
    applicator("dependentSchemas", Shape::Map, true, Draft::Draft201909),
    applicator("unevaluatedItems", Shape::One, false, Draft::Draft201909),
    applicator("unevaluatedProperties", Shape::One, false, Draft::Draft201909),
    applicator("prefixItems", Shape::Many, false, Draft::Draft202012),
    applicator("definitions", Shape::Map, false, Draft::Draft4),
    applicator("$defs", Shape::Map, false, Draft::Draft4),
];

/// Keywords that check a value and hold no schema. `format` and the `content…` keywords are missing on purpose. Here
/// they are annotations and never refuse a value.
const ASSERTIONS: [&str; 21] = [
    "type",
    "enum",
    "const",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxProperties",
    "minProperties",
    "required",
    "maxContains",
    "minContains",
    "dependentRequired",
    "$ref",
];

const LATER_THAN_DRAFT_7: [&str; 11] = [
    "dependentSchemas",
    "dependentRequired",
    "unevaluatedItems",
    "unevaluatedProperties",
    "prefixItems",
    "maxContains",
    "minContains",
    "$dynamicRef",
    "$dynamicAnchor",
    "$recursiveRef",
    "$anchor",
];

/// The class of a keyword.
pub(crate) enum Keyword {
    Applies(&'static Applicator),
    Asserts,
    /// Schemas that other schemas can refer to.
    Defines,
    /// References with a target that depends on the referring schema.
    Dynamic,
    /// Titles, comments and unknown keywords.
    Remark,
}

/// Classifies a keyword by the rules of the draft.
pub(crate) fn classify(name: &str, draft: Draft) -> Keyword {
    if matches!(name, "definitions" | "$defs") {
        return Keyword::Defines;
    }
    if matches!(name, "$dynamicRef" | "$recursiveRef") && draft >= Draft::Draft201909 {
        return Keyword::Dynamic;
    }
    if let Some(applicator) = APPLICATORS.iter().find(|a| a.name == name && a.since <= draft) {
        return Keyword::Applies(applicator);
    }
    if ASSERTIONS.contains(&name) { Keyword::Asserts } else { Keyword::Remark }
}

/// Returns a keyword of this schema that only drafts after draft 7 define.
pub(crate) fn later_than_draft_7(schema: &Map<String, Value>) -> Option<&str> {
    schema.keys().map(String::as_str).find(|key| LATER_THAN_DRAFT_7.contains(key))
}

/// Calls `visit` for each schema directly within this one, definitions included. The arguments are the pointer suffix
/// and the schema.
pub(crate) fn each_subschema(schema: &Map<String, Value>, mut visit: impl FnMut(String, &Value)) {
    for applicator in &APPLICATORS {
        let name = applicator.name;
        match (schema.get(name), applicator.shape) {
            (Some(Value::Array(list)), Shape::Many | Shape::OneOrMany) => {
                list.iter().enumerate().for_each(|(index, item)| visit(format!("/{name}/{index}"), item));
            }
            (Some(Value::Object(map)), Shape::Map | Shape::Dependencies) => {
                map.iter()
                    .for_each(|(key, item)| visit(crate::pointer::child(&format!("/{name}"), key), item));
            }
            (Some(one), Shape::One | Shape::OneOrMany) => visit(format!("/{name}"), one),
            _ => {}
        }
    }
}
