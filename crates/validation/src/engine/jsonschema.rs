//! The engine of the crate jsonschema. It is the default.
//!
//! Patterns run on the linear-time `regex` engine, never on the backtracking one.

use domain::Violation;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::{CompiledSchema, SchemaEngine, in_order};
use crate::draft::Draft;
use crate::error::SchemaError;
use crate::flatten::SelfContained;
use crate::pointer::child;
use crate::sentence::{self, excerpt, short};

pub(super) const NAME: &str = "jsonschema";

/// The crate jsonschema as an engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonSchemaEngine;

#[derive(Debug)]
struct Compiled(Validator);

impl SchemaEngine for JsonSchemaEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn compile(&self, schema: &SelfContained) -> Result<Box<dyn CompiledSchema>, SchemaError> {
        match build(schema) {
            Ok(validator) => Ok(Box::new(Compiled(validator))),
            Err(error) => Err(SchemaError::Refused { engine: NAME, detail: short(&error.to_string()) }),
        }
    }
}

/// Compiles a schema. The error is that of the crate.
pub(crate) fn build(schema: &SelfContained) -> Result<Validator, Box<ValidationError<'static>>> {
    let draft = match schema.draft {
        Draft::Draft4 => jsonschema::Draft::Draft4,
        Draft::Draft6 => jsonschema::Draft::Draft6,
        Draft::Draft7 => jsonschema::Draft::Draft7,
        Draft::Draft201909 => jsonschema::Draft::Draft201909,
        Draft::Draft202012 => jsonschema::Draft::Draft202012,
    };
    jsonschema::options()
        .with_draft(draft)
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(false)
        .build(&schema.schema)
        .map_err(Box::new)
}

impl CompiledSchema for Compiled {
    fn is_valid(&self, value: &Value) -> bool {
        self.0.is_valid(value)
    }

    fn violations(&self, value: &Value, base_pointer: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        for error in self.0.iter_errors(value) {
            translate(&error, value, base_pointer, &mut found);
        }
        in_order(found)
    }
}

/// Translates an error of the crate into violations, one for each faulty member.
pub(crate) fn translate(
    error: &ValidationError<'_>,
    root: &Value,
    base_pointer: &str,
    into: &mut Vec<Violation>,
) {
    let at = format!("{base_pointer}{}", error.instance_path().as_str());
    let members = |names: &[String], rule: &'static str, into: &mut Vec<Violation>| {
        into.extend(
            names.iter().map(|name| Violation::new(child(&at, name), rule, sentence::unexpected(name))),
        );
    };
    match error.kind() {
        Kind::AdditionalProperties { unexpected } => members(unexpected, "additionalProperties", into),
        Kind::UnevaluatedProperties { unexpected } => members(unexpected, "unevaluatedProperties", into),
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            into.push(Violation::new(child(&at, name), "required", sentence::required(name)));
        }
        Kind::PropertyNames { error: inner } => {
            let name = inner.instance().as_str().unwrap_or_default().to_owned();
            let message = format!("the name \"{}\" is not allowed: it {}", short(&name), message(inner));
            into.push(Violation::new(child(&at, &name), "propertyNames", message));
        }
        Kind::FalseSchema if forbidden_members(error, root).is_some() => {
            let (rule, names) = forbidden_members(error, root).unwrap_or_default();
            members(&names, rule, into);
        }
        // The schema `false` is equal to `not` with a schema that accepts everything.
        Kind::FalseSchema => into.push(Violation::new(at, "not", "nothing is allowed here")),
        kind => into.push(Violation::new(at, kind.keyword().to_owned(), message(error))),
    }
}

/// Handles a bare `additionalProperties: false` or `propertyNames: false` that refuses an object. The crate then
/// names the object once, with the text "false schema". The result is the keyword and the names of all refused
/// members.
fn forbidden_members(error: &ValidationError<'_>, root: &Value) -> Option<(&'static str, Vec<String>)> {
    let path = error.schema_path().as_str();
    let rule = ["additionalProperties", "propertyNames"].into_iter().find(|rule| path.ends_with(rule))?;
    let there = root.pointer(error.instance_path().as_str())?;
    // A member with this name whose own schema is `false` is a different case.
    let named = path.ends_with("/properties/propertyNames")
        && error.instance_path().as_str().ends_with("/propertyNames");
    let itself = named || (rule == "additionalProperties" && there == error.instance().as_ref());
    let names = there.as_object().filter(|_| !itself)?.keys().cloned().collect();
    Some((rule, names))
}

fn message(error: &ValidationError<'_>) -> String {
    let value = error.instance();
    let bound = |words: &str, limit: &dyn std::fmt::Display| {
        format!("must be {words} {limit}, but is {}", excerpt(value))
    };
    match error.kind() {
        Kind::Type { kind } => sentence::wrong_type(&kinds(kind), value),
        Kind::Constant { expected_value } => {
            format!("must be {}, but is {}", excerpt(expected_value), excerpt(value))
        }
        Kind::Enum { options } => format!("must be one of {}, but is {}", excerpt(options), excerpt(value)),
        Kind::Minimum { limit } => bound("at least", limit),
        Kind::Maximum { limit } => bound("at most", limit),
        Kind::ExclusiveMinimum { limit } => bound("more than", limit),
        Kind::ExclusiveMaximum { limit } => bound("less than", limit),
        Kind::MultipleOf { multiple_of } => bound("a multiple of", multiple_of),
        Kind::MinLength { limit } => format!("must have at least {limit} characters: {}", excerpt(value)),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters: {}", excerpt(value)),
        Kind::Pattern { pattern } => format!("must match the pattern {}: {}", short(pattern), excerpt(value)),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::AdditionalItems { limit } => format!("must have no items after the first {limit}"),
        Kind::UnevaluatedItems { .. } => "has items that the schema does not allow".to_owned(),
        Kind::UniqueItems => "must not have the same item twice".to_owned(),
        Kind::Contains => "does not have the items that \"contains\" asks for".to_owned(),
        Kind::MinProperties { limit } => format!("must have at least {limit} members"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} members"),
        Kind::Not { .. } => format!("is what the schema excludes with \"not\": {}", excerpt(value)),
        Kind::AnyOf { .. } => format!("fits none of the alternatives of \"anyOf\": {}", excerpt(value)),
        Kind::OneOfNotValid { .. } => {
            format!("fits none of the alternatives of \"oneOf\": {}", excerpt(value))
        }
        Kind::OneOfMultipleValid { .. } => {
            format!("fits several alternatives of \"oneOf\", where one is allowed: {}", excerpt(value))
        }
        Kind::RegexEngineFailure { .. } | Kind::BacktrackLimitExceeded { .. } => {
            format!("could not be compared with the pattern: {}", excerpt(value))
        }
        kind => format!("breaks the rule \"{}\": {}", kind.keyword(), excerpt(value)),
    }
}

fn kinds(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => sentence::kind_named(one.as_str()),
        TypeKind::Multiple(set) => sentence::one_of_kinds(set.iter().map(JsonType::as_str)),
    }
}
