//! The schemas that a service checks its events against.

use std::sync::Arc;

use domain::{StorageFailure, ports::SchemaStore};
use validation::{EngineKind, SchemaRegistry};

/// The built-in schemas: a validator that needs nothing more.
pub fn built_in_schemas() -> Arc<SchemaRegistry> {
    Arc::new(SchemaRegistry::new(EngineKind::JsonSchema))
}

/// The built-in schemas, and over them those that were added to a store, with `event-replay schemas add` or otherwise.
/// What is added later is not in it: it is read once.
///
/// To add schemas of a program's own, [`SchemaRegistry::add`] them before the registry is shared.
///
/// # Errors
/// When the store cannot be read.
pub async fn schemas_of(store: &(impl SchemaStore + ?Sized)) -> Result<SchemaRegistry, StorageFailure> {
    let mut schemas = SchemaRegistry::new(EngineKind::JsonSchema);
    for record in store.list_schemas().await? {
        schemas.restore(&record);
    }
    Ok(schemas)
}
