//! One schema of the registry: the events to which it applies, and its compiled form after the first use.

use std::sync::{Arc, OnceLock};

use domain::Violation;
use domain::ports::{Describes, SchemaSummary};
use serde_json::Value;

use crate::check;
use crate::document::Document;
use crate::engine::{CompiledSchema, SchemaEngine};
use crate::error::SchemaError;
use crate::flatten::{Flattened, flatten};
use crate::sentence;
use crate::summary::{Summary, summarise};

/// Origin of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    BuiltIn,
    Store,
}

/// A registered schema. It is parsed, resolved and compiled once, on first use.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) event_type: String,
    pub(crate) event_version: Option<String>,
    pub(crate) origin: Origin,
    pub(crate) document: Arc<Document>,
    pub(crate) pointer: String,
    pub(crate) describes: Describes,
    summary: OnceLock<Result<Summary, SchemaError>>,
    compiled: OnceLock<Result<Box<dyn CompiledSchema>, SchemaError>>,
}

impl Entry {
    pub(crate) fn new(
        event_type: &str,
        event_version: Option<&str>,
        origin: Origin,
        document: Arc<Document>,
        pointer: &str,
        describes: Describes,
    ) -> Self {
        Self {
            event_type: event_type.to_owned(),
            event_version: event_version.map(str::to_owned),
            origin,
            document,
            // Users write `#/definitions/X`.
            pointer: pointer.trim_start_matches('#').to_owned(),
            describes,
            summary: OnceLock::new(),
            compiled: OnceLock::new(),
        }
    }

    /// Checks a schema before it is accepted. Keeps the compiled form.
    pub(crate) fn check(&self, engine: &dyn SchemaEngine) -> Result<(), SchemaError> {
        let parsed = self.document.parsed()?;
        let flattened = flatten(parsed, &self.pointer)?;
        check::check(parsed, &flattened)?;
        let compiled = engine.compile(&flattened.schema)?;
        let _ = self.compiled.set(Ok(compiled));
        let _ = self.summary.set(Ok(summarise(parsed, &flattened, self.base())));
        Ok(())
    }

    /// Returns all violations of an event, sorted. The list is empty if the event is valid.
    pub(crate) fn violations(&self, event: &Value, engine: &dyn SchemaEngine) -> Vec<Violation> {
        let compiled = match self.compiled.get_or_init(|| engine.compile(&self.flattened()?.schema)) {
            Ok(compiled) => compiled,
            Err(error) => {
                let message = format!(
                    "the schema of \"{}\" cannot be used: {error}",
                    sentence::short(&self.event_type)
                );
                return vec![Violation::new("", "schema", message)];
            }
        };
        let described = match self.describes {
            Describes::Event => event,
            Describes::Data => match event.get("data") {
                Some(data) => data,
                None => return vec![Violation::new("/data", "required", sentence::required("data"))],
            },
        };
        if compiled.is_valid(described) {
            return Vec::new();
        }
        let mut violations = compiled.violations(described, self.base());
        if self.origin == Origin::BuiltIn {
            violations.iter_mut().for_each(|violation| name_null_as_missing(violation, event));
        }
        violations
    }

    fn flattened(&self) -> Result<Flattened, SchemaError> {
        flatten(self.document.parsed()?, &self.pointer)
    }

    fn base(&self) -> &'static str {
        match self.describes {
            Describes::Event => "",
            Describes::Data => "/data",
        }
    }

    fn described(&self) -> Result<&Summary, &SchemaError> {
        let made = self.summary.get_or_init(|| {
            let flattened = self.flattened()?;
            Ok(summarise(self.document.parsed()?, &flattened, self.base()))
        });
        made.as_ref()
    }

    /// Returns the member that names the ordering key. Returns none for a schema that cannot be used.
    pub(crate) fn ordering_key(&self) -> Option<&str> {
        self.described().ok()?.ordering_key.as_deref()
    }

    /// Returns a line for lists. For a schema that cannot be used, the description states the reason.
    pub(crate) fn summary(&self) -> SchemaSummary {
        let nothing = Summary::default();
        let (summary, description) = match self.described() {
            Ok(summary) => (summary, summary.description.clone()),
            Err(error) => (&nothing, Some(format!("cannot be used: {error}"))),
        };
        SchemaSummary {
            event_type: self.event_type.clone(),
            event_version: self.event_version.clone(),
            origin: match self.origin {
                Origin::BuiltIn => "built-in",
                Origin::Store => "store",
            },
            description,
            required: summary.required.clone(),
            optional: summary.optional.clone(),
            ordering_key: summary.ordering_key.clone(),
        }
    }
}

/// Renames the violation of a null member. In built-in schemas, optional members accept null. So a null of the wrong
/// type is a missing required member.
fn name_null_as_missing(violation: &mut Violation, event: &Value) {
    if violation.rule == "type" && event.pointer(&violation.pointer).is_some_and(Value::is_null) {
        let name = violation.pointer.rsplit('/').next().unwrap_or_default();
        violation.message = sentence::required_not_null(name);
        violation.rule = "required".into();
    }
}
