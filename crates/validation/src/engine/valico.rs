//! The engine of the crate valico. A setting selects it, for users who need exactly the verdicts of valico.
//!
//! Constraints: a scope of valico can be sent to another thread but not shared. So each compiled schema keeps a few
//! idle scopes, and a caller takes one for the time of one validation. The paths of valico are not escaped, so the
//! engine resolves them against the value. valico counts a reference without a target as valid unless the strict
//! check is requested.

use std::sync::{Mutex, PoisonError};

use domain::Violation;
use serde_json::Value;
use url::Url;
use valico::common::error::ValicoError;
use valico::json_schema::SchemaVersion;
use valico::json_schema::{Scope, ValidationState};

use super::{CompiledSchema, SchemaEngine, in_order};
use crate::draft::Draft;
use crate::error::SchemaError;
use crate::flatten::SelfContained;
use crate::pointer::{child, of_raw_path, of_raw_path_to_missing};
use crate::sentence::{self, excerpt};

pub(super) const NAME: &str = "valico";

/// Most idle scopes to keep. Each scope holds another compiled copy of the schema.
const IDLE: usize = 16;

/// The crate valico as an engine.
#[derive(Debug, Clone, Copy, Default)]
pub struct ValicoEngine;

impl SchemaEngine for ValicoEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn compile(&self, schema: &SelfContained) -> Result<Box<dyn CompiledSchema>, SchemaError> {
        let version = match schema.draft {
            Draft::Draft7 => SchemaVersion::Draft7,
            Draft::Draft201909 => SchemaVersion::Draft2019_09,
            draft => return Err(SchemaError::UnreadDraft { draft, engine: NAME }),
        };
        let first = Ready::new(&schema.schema, version)?;
        Ok(Box::new(Compiled { schema: schema.schema.clone(), version, idle: Mutex::new(vec![first]) }))
    }
}

/// A scope with the compiled schema.
struct Ready {
    scope: Scope,
    schema: Url,
}

impl Ready {
    fn new(schema: &Value, version: SchemaVersion) -> Result<Self, SchemaError> {
        let mut scope = Scope::without_formats(version);
        let schema = scope
            .compile(schema.clone(), false)
            .map_err(|error| SchemaError::Refused { engine: NAME, detail: error.to_string() })?;
        Ok(Self { scope, schema })
    }
}

struct Compiled {
    schema: Value,
    version: SchemaVersion,
    idle: Mutex<Vec<Ready>>,
}

impl std::fmt::Debug for Compiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiled").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Compiled {
    /// Validates in a scope that no other thread uses at the same time. Returns `None` if no scope is idle and none
    /// can be made.
    fn state(&self, value: &Value) -> Option<ValidationState> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let ready = match idle {
            Some(ready) => ready,
            None => Ready::new(&self.schema, self.version).ok()?,
        };
        let state = ready.scope.resolve(&ready.schema).map(|schema| schema.validate(value));
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(ready);
        }
        state
    }
}

impl CompiledSchema for Compiled {
    fn is_valid(&self, value: &Value) -> bool {
        self.state(value).is_some_and(|state| state.is_strictly_valid())
    }

    fn violations(&self, value: &Value, base_pointer: &str) -> Vec<Violation> {
        let Some(state) = self.state(value) else {
            return vec![Violation::new(base_pointer, "schema", "the engine valico cannot use the schema")];
        };
        let missing = state.missing.iter().map(|url| {
            let message =
                format!("the schema refers to {}, which is not there", url.fragment().unwrap_or_default());
            Violation::new(base_pointer, "$ref", message)
        });
        let broken = state.errors.iter().map(|error| translate(error.as_ref(), value, base_pointer));
        in_order(broken.chain(missing).collect())
    }
}

fn translate(error: &dyn ValicoError, value: &Value, base_pointer: &str) -> Violation {
    let (raw, code) = (error.get_path(), error.get_code());
    let detail = error.get_detail().unwrap_or_default();
    if code == "required" {
        let pointer = of_raw_path_to_missing(value, raw).unwrap_or_else(|| raw.to_owned());
        let name = last_name(&pointer);
        return Violation::new(format!("{base_pointer}{pointer}"), "required", sentence::required(&name));
    }
    let Some(at) = of_raw_path(value, raw) else {
        return in_a_name(raw, code, value, base_pointer);
    };
    let offending = value.pointer(&at).unwrap_or(&Value::Null);
    let pointer = format!("{base_pointer}{at}");
    if let Some(name) = unexpected_member(code, detail) {
        return Violation::new(child(&pointer, name), "additionalProperties", sentence::unexpected(name));
    }
    Violation::new(pointer, keyword(code, detail), message(code, detail, offending))
}

/// Handles valico's path to a name that is not allowed. The path is the path of the object, with the name in
/// brackets.
fn in_a_name(raw: &str, code: &str, value: &Value, base_pointer: &str) -> Violation {
    let found = raw.strip_suffix(']').and_then(|raw| {
        raw.match_indices("/[").find_map(|(at, _)| {
            let object = of_raw_path(value, &raw[..at])?;
            let name = &raw[at + 2..];
            value.pointer(&object)?.get(name).map(|_| (object, name))
        })
    });
    match found {
        Some((object, name)) => {
            let why = message(code, "", &Value::String(name.to_owned()));
            let message = format!("the name \"{}\" is not allowed: it {why}", sentence::short(name));
            Violation::new(format!("{base_pointer}{}", child(&object, name)), "propertyNames", message)
        }
        None => {
            Violation::new(format!("{base_pointer}{raw}"), keyword(code, ""), message(code, "", &Value::Null))
        }
    }
}

fn unexpected_member<'a>(code: &str, detail: &'a str) -> Option<&'a str> {
    (code == "properties")
        .then_some(detail)?
        .strip_prefix("Additional property '")?
        .strip_suffix("' is not allowed")
}

fn last_name(pointer: &str) -> String {
    pointer.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~")
}

/// Returns the JSON Schema keyword for a code of valico. valico has one code for a bound and its exclusive form.
fn keyword(code: &str, detail: &str) -> String {
    let known = match code {
        "wrong_type" => "type",
        "multiple_of" => "multipleOf",
        "max_length" => "maxLength",
        "min_length" => "minLength",
        "max_items" => "maxItems",
        "min_items" => "minItems",
        "unique_items" => "uniqueItems",
        "items" => "additionalItems",
        "max_properties" => "maxProperties",
        "min_properties" => "minProperties",
        "properties" => "additionalProperties",
        "any_of" => "anyOf",
        "one_of" => "oneOf",
        "min_contains/max_contains" => "contains",
        "unevaluated" if detail.contains("tem") => "unevaluatedItems",
        "unevaluated" => "unevaluatedProperties",
        same => same,
    };
    known.to_owned()
}

fn message(code: &str, detail: &str, value: &Value) -> String {
    let about = match code {
        "wrong_type" => return sentence::wrong_type(&wanted_kinds(detail), value),
        "unique_items" => return "must not have the same item twice".to_owned(),
        "items" => return "has more items than the schema lists".to_owned(),
        "contains" | "min_contains/max_contains" => {
            return "does not have the items that \"contains\" asks for".to_owned();
        }
        "multiple_of" => "is not a multiple of what the schema asks for",
        "maximum" => "is more than the schema allows",
        "minimum" => "is less than the schema allows",
        "max_length" => "has more characters than the schema allows",
        "min_length" => "has fewer characters than the schema asks for",
        "pattern" => "does not match the schema's pattern",
        "max_items" => "has more items than the schema allows",
        "min_items" => "has fewer items than the schema asks for",
        "max_properties" => "has more members than the schema allows",
        "min_properties" => "has fewer members than the schema asks for",
        "enum" => "is none of the values that the schema lists",
        "const" => "is not the one value that the schema allows",
        "any_of" => "fits none of the alternatives of \"anyOf\"",
        "one_of" => "does not fit exactly one of the alternatives of \"oneOf\"",
        "not" => "is what the schema excludes with \"not\"",
        "unevaluated" => "has parts that no rule of the schema looks at",
        _ => "breaks a rule of the schema",
    };
    format!("{about}: {}", excerpt(value))
}

/// Reads the types from "The value must be string" or "The value must be any of: string, null".
fn wanted_kinds(detail: &str) -> String {
    let list = detail.strip_prefix("The value must be ").unwrap_or(detail);
    let list = list.strip_prefix("any of: ").unwrap_or(list);
    sentence::one_of_kinds(list.split(", "))
}
