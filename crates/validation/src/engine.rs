//! The port behind which JSON Schema engines stand. Its adapters are the files beside each other in this folder.
//!
//! Laws:
//! - An engine MUST report every violation of a value, not the first alone, sorted and each once.
//! - A violation's pointer MUST be an RFC 6901 pointer: the base pointer, then the offending member; for a missing
//!   member, where it should be; for a member that is not allowed, that member.
//! - A violation's rule MUST be the JSON Schema keyword that was broken.
//! - `format`, `contentEncoding` and `contentMediaType` MUST NOT refuse anything.
//! - A regular expression MUST NOT take more than a bounded time a character.
//! - A value that an engine cannot judge MUST be a violation, never a silent yes.

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

/// Turns schemas into something that judges values.
pub trait SchemaEngine: Send + Sync + Debug {
    /// Its name, as the setting `validation.engine` spells it.
    fn name(&self) -> &'static str;

    /// Compiles a schema whose references all lead into itself.
    fn compile(&self, schema: &SelfContained) -> Result<Box<dyn CompiledSchema>, SchemaError>;
}

/// A schema that judges values, from any number of threads at once.
pub trait CompiledSchema: Send + Sync + Debug {
    /// Whether the value is as the schema says. The answer is that of `violations`, and sooner there.
    fn is_valid(&self, value: &Value) -> bool;

    /// Everything that is wrong with the value. `base_pointer` is where the value stands in its event.
    fn violations(&self, value: &Value, base_pointer: &str) -> Vec<Violation>;
}

/// Which engine decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum EngineKind {
    /// The crate jsonschema: fast, exact, drafts 4 to 2020-12.
    #[default]
    JsonSchema,
    /// The crate valico: drafts 7 and 2019-09.
    #[cfg(feature = "valico")]
    Valico,
}

impl EngineKind {
    /// The engine of this kind.
    pub fn engine(self) -> Arc<dyn SchemaEngine> {
        match self {
            Self::JsonSchema => Arc::new(jsonschema::JsonSchemaEngine),
            #[cfg(feature = "valico")]
            Self::Valico => Arc::new(valico::ValicoEngine),
        }
    }

    /// The name, as the setting spells it.
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

/// The engines that this program was built with.
const ENGINES: &str = if cfg!(feature = "valico") { "jsonschema or valico" } else { "jsonschema" };

/// A name that is no engine's.
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

/// Sorts, and drops what was said twice: several branches of a schema may want the same.
pub(crate) fn in_order(mut violations: Vec<Violation>) -> Vec<Violation> {
    violations.sort();
    violations.dedup();
    violations
}
