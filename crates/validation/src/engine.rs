//! The port of JSON Schema engines. Each file in this folder is one adapter.
//!
//! Laws:
//! - An engine MUST report every violation of a value, not only the first, sorted and each once.
//! - A violation's pointer MUST be an RFC 6901 pointer: the base pointer, followed by the place of the faulty member.
//!   For a missing member, it is the place of that member. For a member that is not allowed, it is that member.
//! - A violation's rule MUST be the violated JSON Schema keyword.
//! - `format`, `contentEncoding` and `contentMediaType` MUST NOT refuse anything.
//! - A regular expression MUST NOT take more than a bounded time for each character.
//! - A value that an engine cannot check MUST be a violation, and never pass silently.

use std::fmt::Debug;
use std::str::FromStr;
use std::sync::Arc;

use domain::Violation;
use serde_json::Value;
use thiserror::Error;

use crate::error::SchemaError;
use crate::flatten::SelfContained;

pub mod jsonschema;
#[cfg(feature = "valico")]
pub mod valico;

/// Compiles schemas.
pub trait SchemaEngine: Send + Sync + Debug {
    /// Returns the name of the engine, as in the setting `validation.engine`.
    fn name(&self) -> &'static str;

    /// Compiles a schema. All references of the schema point into the schema itself.
    fn compile(&self, schema: &SelfContained) -> Result<Box<dyn CompiledSchema>, SchemaError>;
}

/// A compiled schema. It checks values from any number of threads at once.
pub trait CompiledSchema: Send + Sync + Debug {
    /// Returns whether the value matches the schema. The result agrees with `violations`, but takes less time.
    fn is_valid(&self, value: &Value) -> bool;

    /// Returns all violations of the value. `base_pointer` is the place of the value in its event.
    fn violations(&self, value: &Value, base_pointer: &str) -> Vec<Violation>;
}

/// The choice of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EngineKind {
    /// The crate jsonschema: fast and exact, for drafts 4 to 2020-12.
    #[default]
    JsonSchema,
    /// The crate valico, for drafts 7 and 2019-09.
    #[cfg(feature = "valico")]
    Valico,
}

impl EngineKind {
    /// Returns the engine of this kind.
    pub fn engine(self) -> Arc<dyn SchemaEngine> {
        match self {
            Self::JsonSchema => Arc::new(jsonschema::JsonSchemaEngine),
            #[cfg(feature = "valico")]
            Self::Valico => Arc::new(valico::ValicoEngine),
        }
    }

    /// Returns the name of the engine, as in the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JsonSchema => jsonschema::NAME,
            #[cfg(feature = "valico")]
            Self::Valico => valico::NAME,
        }
    }
}

impl std::fmt::Display for EngineKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names of the engines with which this program was built.
const ENGINES: &str = if cfg!(feature = "valico") { "jsonschema or valico" } else { "jsonschema" };

/// No engine has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no validation engine \"{0}\": choose {ENGINES}")]
pub struct UnknownEngine(pub String);

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        match name {
            jsonschema::NAME => Ok(Self::JsonSchema),
            #[cfg(feature = "valico")]
            valico::NAME => Ok(Self::Valico),
            other => Err(UnknownEngine(other.to_owned())),
        }
    }
}

/// Sorts the violations and removes duplicates. Several branches of a schema may report the same violation.
pub(crate) fn in_order(mut violations: Vec<Violation>) -> Vec<Violation> {
    violations.sort();
    violations.dedup();
    violations
}
