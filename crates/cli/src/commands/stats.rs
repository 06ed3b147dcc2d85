//! `stats`: what is stored, counted, and what was counted on the way.

mod counters;

use clap::Args;
use event_replay::{
    Access,
    app::{
        self,
        stats::{GroupPending, StoreStats},
    },
};

use super::replaying::print_counts;
use crate::{
    args::{FilterArgs, Format},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, table::Table},
};

/// Count what is stored
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay stats
  event-replay stats --type 'payment.*' --output json

The flags say which events are counted. Beside them stand the counters that publishers,
consumers and replays of every process leave in the store: over the last 15 minutes, and in all.")]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    filter: FilterArgs,
}

pub(crate) async fn run(args: StatsArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let filter = args.filter.filter()?;
    let stores = cx.open(Access::Read).await?;
    let bar = cx.printer.bar("counting", Some(0));
    let stats = app::stats::stats(&stores, &cx.settings, filter, Some(bar.callback())).await?;
    bar.clear();
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&stats)?,
        Format::Table => print(&stats, cx)?,
    }
    Ok(if stats.corrupt > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}

fn print_pending(groups: &[GroupPending], cx: &mut Context<'_>) -> Result<(), CliError> {
    if groups.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["group", "pending", "oldest pending"]);
    table.right(1);
    for group in groups {
        let oldest = group.pending.oldest.map_or_else(|| "-".to_owned(), |oldest| oldest.to_string());
        table.row([escape::short(&group.name, 60), group.pending.text(), oldest]);
    }
    cx.printer.raw(b"\n")?;
    cx.printer.table(table)
}

fn print(stats: &StoreStats, cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::pairs();
    table.row(["store", &stats.store]);
    table.row(["namespace", &stats.namespace]);
    table.row(["events", &stats.events.to_string()]);
    table.row(["bytes of events", &stats.bytes.to_string()]);
    if let Some(occupied) = stats.bytes_occupied {
        table.row(["bytes of the store", &occupied.to_string()]);
    }
    if let (Some(oldest), Some(newest)) = (stats.oldest, stats.newest) {
        table.row(["oldest", &oldest.to_string()]);
        table.row(["newest", &newest.to_string()]);
    }
    if stats.head.len() > 1 {
        table.row(["partitions", &stats.head.len().to_string()]);
    }
    table.row(["head", &stats.head.join(" ")]);
    if stats.corrupt > 0 {
        table.row(["damaged", &stats.corrupt.to_string()]);
    }
    cx.printer.table(table)?;
    print_counts("type", &stats.by_type, cx)?;
    print_counts("source", &stats.by_source, cx)?;
    print_counts("entity kind", &stats.by_entity_kind, cx)?;
    print_pending(&stats.groups, cx)?;
    counters::print(&stats.counters.last_15_minutes, &stats.counters.in_all, &stats.dead_letters, cx)
}
