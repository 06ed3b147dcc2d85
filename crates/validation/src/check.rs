//! Checks of a schema before its registration. They are the same for every engine.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::document::Parsed;
use crate::draft::Draft;
use crate::engine::jsonschema::{build, translate};
use crate::error::SchemaError;
use crate::flatten::{Flattened, SelfContained};
use crate::pointer::child;
use crate::sentence::short;

/// The `x-ordering-key` of a schema: the member that names the ordering key.
pub(crate) const ORDERING_KEY: &str = "x-ordering-key";

/// Checks the keywords of a schema and of every schema that it refers to, against the meta-schema of its draft. Also
/// checks the regular expressions.
pub(crate) fn check(parsed: &Parsed, flattened: &Flattened) -> Result<(), SchemaError> {
    let draft = flattened.schema.draft;
    for source in &flattened.sources {
        let original = parsed.value.pointer(source).unwrap_or(&Value::Null);
        check_patterns(original, source, draft)?;
        against_its_draft(original, draft).map_err(|error| invalid(&error, original, source, draft))?;
        if original.get(ORDERING_KEY).is_some_and(|key| !key.is_string()) {
            return Err(SchemaError::OrderingKey);
        }
    }
    match build(&flattened.schema) {
        Ok(_) => Ok(()),
        Err(error) => {
            let source = flattened.sources.first().map_or("", String::as_str);
            Err(invalid(&error, &flattened.schema.schema, source, draft))
        }
    }
}

fn against_its_draft(schema: &Value, draft: Draft) -> Result<(), ValidationError<'_>> {
    match draft {
        Draft::Draft4 => jsonschema::draft4::meta::validate(schema),
        Draft::Draft6 => jsonschema::draft6::meta::validate(schema),
        Draft::Draft7 => jsonschema::draft7::meta::validate(schema),
        Draft::Draft201909 => jsonschema::draft201909::meta::validate(schema),
        Draft::Draft202012 => jsonschema::draft202012::meta::validate(schema),
    }
}

fn invalid(error: &ValidationError<'_>, schema: &Value, source: &str, draft: Draft) -> SchemaError {
    let mut violations = Vec::new();
    translate(error, schema, source, &mut violations);
    let (at, detail) = violations.pop().map_or_else(Default::default, |first| (first.pointer, first.message));
    SchemaError::Invalid { at, draft, detail }
}

/// Checks each regular expression separately, so that the error can name the faulty one.
fn check_patterns(schema: &Value, at: &str, draft: Draft) -> Result<(), SchemaError> {
    let Some(object) = schema.as_object() else { return Ok(()) };
    if let Some(pattern) = object.get("pattern").and_then(Value::as_str) {
        check_pattern(pattern, at, draft)?;
    }
    if let Some(patterns) = object.get("patternProperties").and_then(Value::as_object) {
        patterns
            .keys()
            .try_for_each(|pattern| check_pattern(pattern, &child(at, "patternProperties"), draft))?;
    }
    let mut found = Ok(());
    crate::keywords::each_subschema(object, |suffix, inner| {
        if found.is_ok() {
            found = check_patterns(inner, &format!("{at}{suffix}"), draft);
        }
    });
    found
}

fn check_pattern(pattern: &str, at: &str, draft: Draft) -> Result<(), SchemaError> {
    let alone = SelfContained { schema: serde_json::json!({ "pattern": pattern }), draft };
    let Err(error) = build(&alone) else { return Ok(()) };
    let detail = match error.kind() {
        ValidationErrorKind::Format { .. } => {
            "it is not a regular expression of the supported kind".to_owned()
        }
        _ => short(&error.to_string()),
    };
    Err(SchemaError::Pattern { at: at.to_owned(), pattern: short(pattern), detail })
}
