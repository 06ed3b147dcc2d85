//! `backup`: a copy of the store, while it is in use.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Context;
use crate::{
    args::Format,
    errors::CliError,
    exit::Exit,
    store::{Access, Stores, file_path},
};

/// Copy the store to a file, while it is in use
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay backup events-2024-01-31.db

The copy is the store as it is at that moment, checkpoints and schemas included. `restore` brings it back.")]
pub(crate) struct BackupArgs {
    /// The copy. It must not exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Serialize)]
struct Report {
    file: String,
    bytes: u64,
}

pub(crate) async fn run(args: BackupArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    file_path(&cx.settings)?;
    let stores = Stores::open(&cx.settings, Access::Read).await?;
    let Some(file) = &stores.file else {
        return Err(CliError::failed("this store has no file to copy"));
    };
    let name = args.file.display().to_string();
    let bytes = file.backup_to(&args.file).await.map_err(|failure| {
        CliError::from(failure).during("backup").hint("name a new file in a folder you may write")
    })?;
    stores.close().await;
    match cx.printer.format() {
        Format::Table => cx.printer.line(&format!("copied {bytes} bytes to {name}"))?,
        Format::Json | Format::Ndjson => cx.printer.json(&Report { file: name, bytes })?,
    }
    Ok(Exit::Ok)
}
