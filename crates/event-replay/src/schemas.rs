//! The schemas by which a service validates its events.

use std::sync::Arc;

use domain::{StorageFailure, ports::SchemaStore};
use validation::{EngineKind, SchemaRegistry};

/// Returns a validator with the built-in schemas.
pub fn built_in_schemas() -> Arc<SchemaRegistry> {
    Arc::new(SchemaRegistry::new(EngineKind::JsonSchema))
}

/// Returns the built-in schemas together with the schemas of a store. A schema of the store replaces a built-in schema
/// of the same type. The function reads the store once, so the result lacks schemas that are added later.
///
/// To use a program's own schemas, call [`SchemaRegistry::add`] before the registry is shared.
///
/// # Errors
/// Returns [`StorageFailure`] when the store cannot be read.
pub async fn schemas_of(store: &(impl SchemaStore + ?Sized)) -> Result<SchemaRegistry, StorageFailure> {
    let mut schemas = SchemaRegistry::new(EngineKind::JsonSchema);
    for record in store.list_schemas().await? {
        schemas.restore(&record);
    }
    Ok(schemas)
}
