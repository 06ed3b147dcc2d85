//! `schemas`: the schemas that users added, beside those that came with the program.

mod add;
mod check;
mod list;
mod remove;
mod show;

use clap::Subcommand;
use domain::ports::SchemaRecord;
use validation::{EngineKind, SchemaRegistry};

use super::Context;
use crate::{
    errors::CliError,
    exit::Exit,
    store::{Access, Stores},
};

/// Largest schema file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Look after event schemas
#[derive(Debug, Subcommand)]
pub(crate) enum SchemasCommand {
    /// Show all schemas
    List(list::ListArgs),
    /// Show one schema's file
    Show(show::ShowArgs),
    /// Add a schema, or replace the one of its type and version
    Add(add::AddArgs),
    /// Remove a schema that was added
    Remove(remove::RemoveArgs),
    /// Check stored events against a schema file, and add nothing
    Check(check::CheckArgs),
}

pub(crate) async fn run(command: SchemasCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        SchemasCommand::List(args) => list::run(args, cx).await,
        SchemasCommand::Show(args) => show::run(args, cx).await,
        SchemasCommand::Add(args) => add::run(args, cx).await,
        SchemasCommand::Remove(args) => remove::run(args, cx).await,
        SchemasCommand::Check(args) => check::run(args, cx).await,
    }
}

/// The built-in schemas and the store's. Nothing is compiled before it is needed.
pub(super) async fn registry(stores: &Stores, engine: EngineKind) -> Result<SchemaRegistry, CliError> {
    let mut registry = SchemaRegistry::new(engine);
    for record in stores.schemas.list_schemas().await? {
        registry.restore(&record);
    }
    Ok(registry)
}

/// The store's schemas; none, and a word about it, where there is no store: the built-in ones need none.
pub(super) async fn records_if_any(cx: &Context<'_>) -> Result<Vec<SchemaRecord>, CliError> {
    if !Stores::exists(&cx.settings).await? {
        cx.printer
            .say(&format!("there is no store at {}: these are the built-in schemas", cx.settings.store));
        return Ok(vec![]);
    }
    let stores = Stores::open(&cx.settings, Access::Read).await?;
    let records = stores.schemas.list_schemas().await?;
    stores.close().await;
    Ok(records)
}

/// Members as people name them.
pub(super) fn members(pointers: &[String]) -> String {
    const ENVELOPE: &[&str] = &["/id", "/type", "/version", "/timestamp", "/source", "/metadata", "/data"];
    let own = pointers.iter().filter(|pointer| !ENVELOPE.contains(&pointer.as_str()));
    own.map(|pointer| pointer.trim_start_matches('/').replace('/', ".")).collect::<Vec<_>>().join(" ")
}

/// What names a schema.
fn named(event_type: &str, event_version: Option<&str>) -> String {
    match event_version {
        Some(version) => format!("{event_type} version {version}"),
        None => event_type.to_owned(),
    }
}
