//! Validation of events against the schemas of their types: the registry of schemas, the built-in schemas, and two
//! engines.
//!
//! Read in this order: [`registry`] (the schema of each event), [`engine`] (the port and its two adapters),
//! [`builtin`] (the built-in schemas). Between registry and engine, a schema file is made *self-contained*
//! ([`SelfContained`]). Every `$ref` is resolved once, by one set of rules, so that no engine resolves references to
//! other places.
//!
//! ```
//! use serde_json::json;
//! use event_replay_validation::{EngineKind, SchemaRegistry};
//!
//! let registry = SchemaRegistry::new(EngineKind::JsonSchema);
//! let result = registry.validate_event(&json!({
//!     "id": "e-1", "type": "user.registered", "version": "1.0", "timestamp": "2024-01-01T00:00:00Z",
//!     "source": "user-service", "userId": "user-123", "metadata": {},
//!     "data": { "email": null, "registrationMethod": "email" }
//! }));
//! assert!(!result.is_valid);
//! assert_eq!(result.errors[0].pointer, "/data/email");
//! assert_eq!(result.errors[0].rule, "required");
//! ```

pub mod builtin;
pub mod engine;
pub mod error;
pub mod registry;
pub mod result;

mod check;
mod document;
mod draft;
mod entry;
mod flatten;
mod keywords;
mod pointer;
mod resources;
mod sentence;
mod summary;

pub use draft::Draft;
pub use engine::{CompiledSchema, EngineKind, SchemaEngine};
pub use error::SchemaError;
pub use flatten::SelfContained;
pub use registry::SchemaRegistry;
pub use result::ValidationResult;
