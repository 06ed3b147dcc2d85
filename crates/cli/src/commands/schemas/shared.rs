//! The common part of the schema commands.

use domain::ports::SchemaRecord;
use event_replay::{Access, app};

use crate::{context::Context, errors::CliError};

/// Returns the schemas of the store. If there is no store, prints a note and returns none, because the built-in schemas
/// need no store.
pub(in crate::commands) async fn records_if_any(cx: &Context<'_>) -> Result<Vec<SchemaRecord>, CliError> {
    if !app::store_exists(&cx.settings).await? {
        cx.printer
            .say(&format!("there is no store at {}: these are the built-in schemas", cx.settings.store));
        return Ok(vec![]);
    }
    let stores = cx.open(Access::Read).await?;
    let records = stores.list_schemas().await?;
    stores.close().await;
    Ok(records)
}

/// Formats JSON pointers as dotted names, without the members of the envelope.
pub(in crate::commands) fn members(pointers: &[String]) -> String {
    const ENVELOPE: &[&str] = &["/id", "/type", "/version", "/timestamp", "/source", "/metadata", "/data"];
    let own = pointers.iter().filter(|pointer| !ENVELOPE.contains(&pointer.as_str()));
    own.map(|pointer| pointer.trim_start_matches('/').replace('/', ".")).collect::<Vec<_>>().join(" ")
}

/// Formats the name of a schema: its type, and its version if it has one.
pub(super) fn named(event_type: &str, event_version: Option<&str>) -> String {
    match event_version {
        Some(version) => format!("{event_type} version {version}"),
        None => event_type.to_owned(),
    }
}
