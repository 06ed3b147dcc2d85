//! `backup`: copies the store while other processes use it.

use std::path::{Path, PathBuf};

use clap::Args;
use event_replay::{Access, app::backup};
use serde::Serialize;

use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, plural::count},
};

/// Copy the store to a file, while it is in use
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay backup events-2024-01-31.db

The copy is the store as it is at that moment, checkpoints and schemas included. `restore`
brings it back.")]
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
    backup::file(&cx.settings)?;
    let name = escape::line(&args.file.display().to_string()).into_owned();
    check_place(&args.file, &name)?;
    let stores = cx.open(Access::Read).await?;
    let bytes = backup::backup(&stores, &cx.settings, &args.file).await.map_err(|error| {
        CliError::from(error).during("backup").hint("name a new file in a folder you may write")
    })?;
    stores.close().await;
    match cx.printer.format() {
        Format::Table => cx.printer.line(&format!("copied {} to {name}", count(bytes, "byte")))?,
        Format::Json | Format::Ndjson => cx.printer.json(&Report { file: name, bytes })?,
    }
    Ok(Exit::Ok)
}

/// Checks the path before the copy begins, so that an error names the path.
fn check_place(file: &Path, name: &str) -> Result<(), CliError> {
    if file.exists() {
        return Err(CliError::failed(format!("{name} exists already; nothing was written"))
            .hint("name a new file: a backup replaces none"));
    }
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => Err(CliError::failed(format!(
            "there is no folder {}; nothing was written",
            escape::line(&folder.display().to_string())
        ))),
        _ => Ok(()),
    }
}
