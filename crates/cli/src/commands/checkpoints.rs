//! `checkpoints`: lists, shows, deletes and compares checkpoints.

use clap::{Args, Subcommand};
use domain::Checkpoint;
use event_replay::{
    Access,
    app::{self, documents::Deleted},
};
use replay::Checkpoints;

use super::replaying::print_counts;
use crate::{
    args::{Format, time},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        plural::{count, grouped},
        table::{Cell, Table, fixed, number, text},
    },
};

/// Manage checkpoints
#[derive(Debug, Subcommand)]
pub(crate) enum CheckpointsCommand {
    /// Show all checkpoints, the oldest first
    List(ListArgs),
    /// Show one checkpoint
    Show(OneArgs),
    /// Delete a checkpoint; the events stay
    Delete(DeleteArgs),
    /// Count what lies between two checkpoints
    Diff(DiffArgs),
}

/// Show all checkpoints, the oldest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay checkpoints list
  event-replay checkpoints list --output json")]
pub(crate) struct ListArgs {}

/// Show one checkpoint
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay checkpoints show pre-migration-v2")]
pub(crate) struct OneArgs {
    /// Its name or id.
    #[arg(value_name = "CHECKPOINT", add = complete::checkpoints())]
    checkpoint: String,
}

/// Delete a checkpoint; the events stay
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay checkpoints delete pre-migration-v2")]
pub(crate) struct DeleteArgs {
    /// Its name or id.
    #[arg(value_name = "CHECKPOINT", add = complete::checkpoints())]
    checkpoint: String,
}

/// Count what lies between two checkpoints
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay checkpoints diff before-migration after-migration")]
pub(crate) struct DiffArgs {
    /// One of them, by name or id.
    #[arg(value_name = "CHECKPOINT", add = complete::checkpoints())]
    one: String,
    /// The other.
    #[arg(value_name = "CHECKPOINT", add = complete::checkpoints())]
    other: String,
}

pub(crate) async fn run(command: CheckpointsCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let access = match command {
        CheckpointsCommand::Delete(_) => Access::Write,
        _ => Access::Read,
    };
    let stores = cx.open(access).await?;
    let keeper = app::checkpoints::checkpoints(&stores);
    match command {
        CheckpointsCommand::List(_) => list(&keeper, cx).await?,
        CheckpointsCommand::Show(args) => {
            let found = keeper.find(&args.checkpoint).await?;
            match cx.printer.format() {
                Format::Table => print_one(&found, cx)?,
                Format::Json | Format::Ndjson => cx.printer.json(&found)?,
            }
        }
        CheckpointsCommand::Delete(args) => {
            let name = app::checkpoints::delete(&stores, &cx.actor, &args.checkpoint).await?;
            match cx.printer.format() {
                Format::Table => cx.printer.line(&format!("deleted checkpoint {name}"))?,
                Format::Json | Format::Ndjson => cx.printer.json(&Deleted { deleted: &name })?,
            }
        }
        CheckpointsCommand::Diff(args) => diff(&keeper, &args, cx).await?,
    }
    drop(keeper);
    stores.close().await;
    Ok(Exit::Ok)
}

async fn list(keeper: &Checkpoints, cx: &mut Context<'_>) -> Result<(), CliError> {
    let all = keeper.list().await?;
    if cx.printer.format() != Format::Table {
        return cx.printer.json_rows(&all);
    }
    if all.is_empty() {
        cx.printer.say("there are no checkpoints; `event-replay checkpoint NAME` creates one");
        return Ok(());
    }
    let columns =
        [text("name"), text("last processed event"), number("events"), fixed("made"), fixed("hold")];
    let mut table = Table::new(columns);
    for checkpoint in &all {
        table.row([
            Cell::new(&checkpoint.name),
            Cell::new(&checkpoint.last_processed_event_id),
            Cell::count(checkpoint.event_count),
            Cell::time(checkpoint.created_at, cx.printer.now()),
            Cell::new(if checkpoint.hold { "yes" } else { "no" }),
        ]);
    }
    cx.printer.table(&table)
}

/// Prints a checkpoint as a table.
pub(super) fn print_one(checkpoint: &Checkpoint, cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::pairs();
    table.row(["name", &checkpoint.name]);
    table.row(["id", &checkpoint.id]);
    table.row(["last processed event", &checkpoint.last_processed_event_id]);
    table.row(["events", &grouped(checkpoint.event_count)]);
    table.row(["mark", &checkpoint.mark.to_string()]);
    table.row(["made", &time::to_milliseconds(checkpoint.created_at)]);
    table.row(["hold", if checkpoint.hold { "yes" } else { "no" }]);
    if !checkpoint.metadata.is_empty() {
        let metadata = serde_json::to_string(&checkpoint.metadata).unwrap_or_default();
        table.row(["metadata", &metadata]);
    }
    cx.printer.table(&table)
}

async fn diff(keeper: &Checkpoints, args: &DiffArgs, cx: &mut Context<'_>) -> Result<(), CliError> {
    let diff = keeper.diff(&args.one, &args.other).await?;
    if diff.incomplete {
        cx.printer.warn("retention has removed events between them: the counts are of what is left");
    }
    if cx.printer.format() != Format::Table {
        return cx.printer.json(&diff);
    }
    cx.printer.line(&format!(
        "{} after {}, up to and with {}",
        count(diff.total_events, "event"),
        diff.from,
        diff.to
    ))?;
    print_counts("type", &diff.by_type, cx)
}
