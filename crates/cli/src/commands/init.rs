//! `init`: make an empty store.

use clap::Args;
use serde::Serialize;

use super::Context;
use crate::{
    args::Format,
    errors::CliError,
    exit::Exit,
    output::plural::count,
    store::{Access, Stores},
};

/// Make an empty store
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay init
  event-replay init --store sqlite:events.db
  event-replay init --store redis://localhost?namespace=orders")]
pub(crate) struct InitArgs {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    store: String,
    namespace: String,
    created: bool,
    events: u64,
}

pub(crate) async fn run(_args: InitArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let created = !Stores::exists(&cx.settings).await?;
    let stores = Stores::open(&cx.settings, Access::Create).await?;
    let info = stores.events.info().await?;
    let made = Made {
        store: cx.settings.store.to_string(),
        namespace: info.namespace,
        created,
        events: info.events,
    };
    match cx.printer.format() {
        Format::Table if created => cx.printer.line(&format!("made an empty store: {}", made.store))?,
        Format::Table => cx.printer.line(&format!(
            "there is a store already: {} ({}); nothing was changed",
            made.store,
            count(made.events, "event")
        ))?,
        Format::Json | Format::Ndjson => cx.printer.json(&made)?,
    }
    stores.close().await;
    Ok(Exit::Ok)
}
