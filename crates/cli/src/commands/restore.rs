//! `restore`: creates or replaces the store from a backup.

use std::path::{Path, PathBuf};

use clap::Args;
use domain::StorageFailure;
use event_replay::app::backup::{self, RestoreError};
use serde::Serialize;

use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{confirm::confirm, escape, plural::count},
};

/// Restore a backup
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay restore events-2024-01-31.db --store sqlite:restored.db
  event-replay restore events-2024-01-31.db --replace --yes

Makes the store named by --store. Where one is, --replace is wanted, and no other process may
have it open.")]
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
    backup::file(&cx.settings)?;
    check_backup(&args.file)?;
    if let Some(confirmation) = backup::confirmation(&cx.settings, &args.file)? {
        if !args.replace {
            return Err(CliError::failed(format!(
                "there is a store at {}; nothing was changed",
                cx.settings.store
            ))
            .hint("restore to another place with --store, or add --replace"));
        }
        confirm(&confirmation, &cx.settings, args.yes, "add --yes to continue")?;
    }
    let restored = backup::restore(&cx.settings, &args.file, args.replace)
        .await
        .map_err(|error| refused(error, &args.file, cx))?;
    if let Some(kept) = &restored.damaged_kept_at {
        let kept = escape::line(&kept.display().to_string()).into_owned();
        cx.printer.say(&format!("the damaged store was kept as {kept}"));
    }
    let report =
        Report { store: cx.settings.store.to_string(), events: restored.events, bytes: restored.bytes };
    match cx.printer.format() {
        Format::Table => {
            cx.printer.line(&format!("restored {} to {}", count(report.events, "event"), report.store))?;
        }
        Format::Json | Format::Ndjson => cx.printer.json(&report)?,
    }
    Ok(Exit::Ok)
}

fn refused(error: RestoreError, file: &Path, cx: &Context<'_>) -> CliError {
    let RestoreError::Storage(failure) = error else { return error.into() };
    let name = escape::line(&file.display().to_string()).into_owned();
    let advice = match &failure {
        StorageFailure::Foreign(_) => {
            "name the file that `event-replay backup FILE` wrote, and a place that holds a store or nothing"
        }
        StorageFailure::Corrupt(_) => "the store was not touched; try another backup",
        _ => "the store was not touched",
    };
    CliError::from(failure).during(format!("restore from {name} to {}", cx.settings.store)).hint(advice)
}

/// Checks the backup before the question to the user. An unusable backup thus raises no question.
fn check_backup(file: &Path) -> Result<(), CliError> {
    let name = escape::line(&file.display().to_string()).into_owned();
    let what = match (file.is_file(), file.is_dir()) {
        (true, _) => return Ok(()),
        (false, true) => format!("{name} is a folder, not a backup; nothing was changed"),
        (false, false) => format!("there is no backup at {name}; nothing was changed"),
    };
    Err(CliError::failed(what).hint("name the file that `event-replay backup FILE` wrote"))
}
