//! `restore`: a backup becomes the store.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use storage_sqlite::SqliteStore;

use super::Context;
use crate::{
    args::Format,
    errors::CliError,
    exit::Exit,
    output::confirm::confirm,
    store::{file_path, sqlite_options},
};

/// Bring a backup back
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay restore events-2024-01-31.db --store sqlite:restored.db
  event-replay restore events-2024-01-31.db --replace --yes

Makes the store named by --store. Where one is, --replace is wanted, and no other process may have it open.")]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the store that is there.
    #[arg(long)]
    replace: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Report {
    store: String,
    events: u64,
    bytes: u64,
}

pub(crate) async fn run(args: RestoreArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let path = file_path(&cx.settings)?;
    if path.exists() {
        if !args.replace {
            return Err(CliError::failed(format!(
                "there is a store at {}; nothing was changed",
                cx.settings.store
            ))
            .hint("restore to another place with --store, or add --replace"));
        }
        confirm(&format!("Replace the store {} by {}.", cx.settings.store, args.file.display()), args.yes)?;
    }
    let restored = SqliteStore::restore(sqlite_options(&cx.settings, path), &args.file, args.replace).await;
    let info = restored.map_err(|failure| CliError::from(failure).during("restore"))?;
    let report = Report { store: cx.settings.store.to_string(), events: info.events, bytes: info.bytes };
    match cx.printer.format() {
        Format::Table => {
            cx.printer.line(&format!("restored {} events to {}", report.events, report.store))?;
        }
        Format::Json | Format::Ndjson => cx.printer.json(&report)?,
    }
    Ok(Exit::Ok)
}
