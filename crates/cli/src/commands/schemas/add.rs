//! `schemas add`: adds or replaces a schema.

use std::path::PathBuf;

use clap::Args;
use domain::ports::{Describes, SchemaRecord};
use event_replay::{
    Access,
    app::{self, documents::SchemaAdded, schemas},
};
use validation::SchemaRegistry;

use super::shared::named;
use crate::{
    args::{Format, filter},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    input::Input,
};

/// Maximum size of a schema file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Add a schema, or replace the one of its type and version
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay schemas add custom.event custom.event.json
  event-replay schemas add github.push webhooks.json --pointer '/definitions/push_event' --data
  event-replay schemas add user.registered v2.json --event-version 2.0

A schema without --event-version serves every version that has none of its own. It must resolve
within its file: other files and the network are never read.")]
pub(crate) struct AddArgs {
    #[command(flatten)]
    schema: SchemaArgs,
}

/// A schema file and the event type that it describes.
#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// The event type.
    #[arg(value_name = "TYPE", value_parser = filter::name, add = complete::types())]
    pub(super) event_type: String,
    /// The JSON Schema file, plain or packed with gzip or zstd (`-`: stdin).
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where in the file the schema is: a JSON Pointer such as /definitions/Order.
    #[arg(long, value_name = "POINTER")]
    pointer: Option<String>,
    /// The schema describes `data` alone, not the whole event.
    #[arg(long)]
    data: bool,
    /// Serve this version of the type alone.
    #[arg(long, value_name = "VERSION", value_parser = filter::name)]
    pub(super) event_version: Option<String>,
}

impl SchemaArgs {
    /// Reads and checks the schema. Returns its record, and a registry that contains only this schema.
    pub(super) fn record(&self, cx: &Context<'_>) -> Result<(SchemaRecord, SchemaRegistry), CliError> {
        let input = Input::one(&self.file);
        let record = SchemaRecord {
            event_type: self.event_type.clone(),
            event_version: self.event_version.clone(),
            document: input.text(MAX_FILE)?,
            pointer: self.pointer.as_deref().unwrap_or_default().trim_start_matches('#').to_owned(),
            describes: if self.data { Describes::Data } else { Describes::Event },
            added_at: app::clock().now(),
        };
        let mut registry = SchemaRegistry::empty(cx.settings.engine);
        registry.add(&record).map_err(|error| {
            CliError::failed(format!("{input}: the schema for {} is refused: {error}", record.event_type))
                .hint("nothing was added; docs/schemas.md says what a schema may use")
        })?;
        Ok((record, registry))
    }
}

pub(super) async fn run(args: AddArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    // The schema is checked before the store opens, so that a refused schema creates no store.
    let (record, _) = args.schema.record(cx)?;
    let stores = cx.open(Access::Create).await?;
    let (event_type, event_version) = (record.event_type.clone(), record.event_version.clone());
    let replaced = schemas::put(&stores, &cx.actor, record).await?;
    let added = SchemaAdded { event_type, event_version, replaced };
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&added)?,
        Format::Table => {
            let verb = if replaced { "replaced" } else { "added" };
            let name = named(&added.event_type, added.event_version.as_deref());
            cx.printer.line(&format!("{verb} the schema for {name}"))?;
        }
    }
    Ok(Exit::Ok)
}
