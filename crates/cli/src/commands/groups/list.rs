//! `groups list`: all groups and how far they are.

use clap::Args;
use domain::group::Pending;
use event_replay::{
    Access,
    app::groups::{self, GroupPosition},
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{args::Format, context::Context, errors::CliError, exit::Exit, output::table::Table};

/// Show all groups and how far they are
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay groups list
  event-replay groups list --output json

PENDING counts the events of the group's types that it has not handled, skipped or given up on:
those that it has not read yet, and those that wait behind an event that fails. Where there are
too many to count them all it is a lower bound, as \">= 10000\". OLDEST PENDING is when the oldest
of them was stored. LAG counts the events in the log after the group's slowest segment, of any
type; BLOCKED the keys that wait to be tried again, PARKED those of them that wait behind a dead
letter; LANE the replayed events that wait.")]
pub(crate) struct ListArgs {}

/// A group in a list.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    name: &'a str,
    types: Vec<&'a str>,
    consumers: usize,
    #[serde(flatten)]
    pending: Pending,
    lag: u64,
    blocked: u64,
    parked: u64,
    lane: u64,
    gaps: usize,
    last_seen_at: Timestamp,
}

pub(super) async fn run(_args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let groups = groups::all(&stores, &cx.settings).await?;
    stores.close().await;
    let rows: Vec<Row<'_>> = groups.iter().map(row).collect();
    if cx.printer.format() != Format::Table {
        cx.printer.json_rows(&rows)?;
        return Ok(Exit::Ok);
    }
    if rows.is_empty() {
        cx.printer.say("there are no groups; `event-replay groups create NAME` makes one");
        return Ok(Exit::Ok);
    }
    let columns = [
        "name",
        "types",
        "consumers",
        "pending",
        "oldest pending",
        "lag",
        "blocked",
        "parked",
        "lane",
        "last seen",
    ];
    let mut table = Table::new(&columns);
    [2, 3, 5, 6, 7, 8].into_iter().for_each(|column| table.right(column));
    for row in &rows {
        table.row([
            row.name,
            &types(&row.types),
            &row.consumers.to_string(),
            &row.pending.text(),
            &row.pending.oldest.map_or_else(|| "-".to_owned(), |oldest| oldest.to_string()),
            &row.lag.to_string(),
            &row.blocked.to_string(),
            &row.parked.to_string(),
            &row.lane.to_string(),
            &row.last_seen_at.to_string(),
        ]);
    }
    cx.printer.table(table)?;
    Ok(Exit::Ok)
}

fn row(group: &GroupPosition) -> Row<'_> {
    let record = &group.status.record;
    Row {
        name: &record.spec.name,
        types: record.spec.types.iter().map(domain::TypePattern::as_str).collect(),
        consumers: group.status.consumers.len(),
        pending: group.pending,
        lag: group.lag,
        blocked: group.status.blocked_keys(),
        parked: group.parked(),
        lane: group.lane(),
        gaps: record.gaps.len(),
        last_seen_at: record.last_seen_at,
    }
}

/// A group's types, for people.
pub(super) fn types(types: &[&str]) -> String {
    if types.is_empty() { "all".to_owned() } else { types.join(" ") }
}
