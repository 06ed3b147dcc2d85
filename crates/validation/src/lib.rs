//! Whether an event is what its type's schema says: the registry of schemas, the built-in ones, and two engines.
//!
//! Read in this order: [`registry`] (which schema serves which event), [`engine`] (the port and its two adapters),
//! [`builtin`] (the schemas that come with the program). In between, a schema file is made *self-contained*
//! ([`SelfContained`]): every `$ref` is resolved once, by one set of rules, so that no engine ever goes looking.
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
