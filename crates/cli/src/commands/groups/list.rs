//! `groups list`: lists all groups and their progress.

use clap::Args;
use event_replay::{
    Access, StoreHandle,
    app::{documents::group_rows, groups},
};

use super::pending_text;
use crate::{
    args::Format,
    commands::repeating::WatchArgs,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        style::Tone,
        table::{Cell, Table, fixed, number, text},
    },
};

/// Show all groups and their progress
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay groups list
  event-replay groups list --watch
  event-replay groups list --output json

PENDING counts the events of the group's types that it has not handled, skipped or given up on.
These are unread events, and events that wait behind an event that fails. Where there are too many
to count, it is a lower bound, as \">= 10000\". OLDEST PENDING is when the oldest of them was stored.
LAG counts the events in the log after the group's slowest segment, of any type. BLOCKED counts the
keys that wait for a retry, and PARKED the keys among them that wait behind a dead letter. LANE
counts the replayed events that wait.")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    watch: WatchArgs,
}

pub(super) async fn run(args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let exit = args.watch.run(cx, async |cx| list(&stores, cx).await).await;
    stores.close().await;
    exit
}

async fn list(stores: &StoreHandle, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let groups = groups::all(stores, &cx.settings).await?;
    let rows = group_rows(&groups);
    if cx.printer.format() != Format::Table {
        cx.printer.json_rows(&rows)?;
        return Ok(Exit::Ok);
    }
    if rows.is_empty() {
        cx.printer.say("there are no groups; `event-replay groups create NAME` creates one");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new([
        text("name"),
        text("types").optional(5),
        number("consumers"),
        number("pending"),
        fixed("oldest pending"),
        number("lag"),
        number("blocked"),
        number("parked").optional(3),
        number("lane").optional(4),
        fixed("last seen").optional(2),
    ]);
    let now = cx.printer.now();
    for row in &rows {
        table.row([
            named(row.name, !row.pauses.is_empty()),
            Cell::new(types(&row.types)),
            Cell::count(row.consumers as u64),
            Cell::new(pending_text(&row.pending)),
            Cell::time_or_dash(row.pending.oldest, now),
            Cell::count(row.lag),
            Cell::count(row.blocked),
            Cell::count(row.parked),
            Cell::count(row.lane),
            Cell::time(row.last_seen_at, now),
        ]);
    }
    cx.printer.table(&table)?;
    Ok(Exit::Ok)
}

/// Returns a table cell with the name of a group, marked if the group is paused.
fn named(name: &str, is_paused: bool) -> Cell {
    match is_paused {
        true => Cell::state(&format!("{name} (paused)"), Tone::Warn),
        false => Cell::new(name),
    }
}

/// Formats the types of a group. An empty list selects all types.
pub(super) fn types(types: &[&str]) -> String {
    if types.is_empty() { "all".to_owned() } else { types.join(" ") }
}
