//! `schemas remove`: removes an added schema. A built-in schema that it replaced applies again.

use clap::Args;
use event_replay::{
    Access,
    app::{
        documents::SchemaRemoved,
        schemas::{self, is_built_in},
    },
};

use super::shared::named;

use crate::{
    args::{Format, filter},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Remove a schema that was added
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay schemas remove custom.event
  event-replay schemas remove user.registered --event-version 2.0

Where it replaced a built-in schema, that one serves again.")]
pub(crate) struct RemoveArgs {
    /// The event type.
    #[arg(value_name = "TYPE", value_parser = filter::name, add = complete::types())]
    event_type: String,
    /// The event version; without it, the schema that serves every version.
    #[arg(long, value_name = "VERSION", value_parser = filter::name)]
    event_version: Option<String>,
}

pub(super) async fn run(args: RemoveArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let version = args.event_version.as_deref();
    let removed = schemas::remove(&stores, &cx.actor, &args.event_type, version).await?;
    stores.close().await;
    let name = named(&args.event_type, version);
    let built_in = is_built_in(&args.event_type);
    match (removed, built_in) {
        (false, true) => {
            Err(CliError::failed(format!("the schema for {name} is built in and cannot be removed"))
                .hint("`schemas add` replaces it; --no-validation publishes without schemas"))
        }
        (false, false) => Err(CliError::failed(format!("no schema was added for {name}"))
            .hint("`event-replay schemas list` shows all")),
        (true, _) => {
            match cx.printer.format() {
                Format::Table => cx.printer.line(&format!("removed the schema for {name}"))?,
                Format::Json | Format::Ndjson => {
                    cx.printer
                        .json(&SchemaRemoved { event_type: &args.event_type, event_version: version })?;
                }
            }
            Ok(Exit::Ok)
        }
    }
}
