//! `stats`: counts the stored events, and prints the counters of all processes.

mod counters;

use clap::Args;
use domain::Filter;
use event_replay::{
    Access, StoreHandle,
    app::{
        self,
        bounds::Bounds,
        stats::{GroupPending, StoreStats},
    },
};

use super::{groups::pending_text, repeating::WatchArgs, replaying::print_counts};
use crate::{
    args::{BoundArgs, FilterArgs, Format, time},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        plural::{grouped, size},
        table::{Cell, Table, fixed, number, text},
    },
};

/// Count what is stored
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay stats
  event-replay stats --watch 5s
  event-replay stats --type 'payment.*' --output json

The flags say which events are counted. Beside them stand the counters that publishers,
consumers and replays of every process leave in the store: over the last 15 minutes, and in all.")]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    watch: WatchArgs,
}

pub(crate) async fn run(args: StatsArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let filter = args.filter.filter()?;
    let stores = cx.open(Access::Read).await?;
    let bounds = args.bounds.request().resolve(&stores).await?;
    let exit = args.watch.run(cx, async |cx| show(&stores, &filter, &bounds, cx).await).await;
    stores.close().await;
    exit
}

async fn show(
    stores: &StoreHandle,
    filter: &Filter,
    bounds: &Bounds,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let bar = cx.printer.bar("counting", Some(0));
    let progress = Some(bar.callback());
    let stats = app::stats::stats(stores, &cx.settings, filter.clone(), bounds, progress).await?;
    bar.clear();
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
    let mut table = Table::new([text("group"), number("pending"), fixed("oldest pending")]);
    for group in groups {
        let oldest = Cell::time_or_dash(group.pending.oldest, cx.printer.now());
        table.row([Cell::new(&group.name), Cell::new(pending_text(&group.pending)), oldest]);
    }
    cx.printer.raw(b"\n")?;
    cx.printer.table(&table)
}

fn print(stats: &StoreStats, cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::pairs();
    table.row(["store", &stats.store]);
    table.row(["namespace", &stats.namespace]);
    table.row(["events", &grouped(stats.events)]);
    table.row(["size of events", &size(stats.bytes)]);
    if let Some(occupied) = stats.bytes_occupied {
        table.row(["size of the store", &size(occupied)]);
    }
    if let (Some(oldest), Some(newest)) = (stats.oldest, stats.newest) {
        table.row(["oldest", &time::to_milliseconds(oldest)]);
        table.row(["newest", &time::to_milliseconds(newest)]);
    }
    if stats.head.len() > 1 {
        table.row(["partitions", &stats.head.len().to_string()]);
    }
    table.row(["head", &stats.head.join(" ")]);
    if stats.corrupt > 0 {
        table.row(["damaged", &grouped(stats.corrupt)]);
    }
    cx.printer.table(&table)?;
    print_counts("type", &stats.by_type, cx)?;
    print_counts("source", &stats.by_source, cx)?;
    print_counts("entity kind", &stats.by_entity_kind, cx)?;
    print_pending(&stats.groups, cx)?;
    counters::print(&stats.counters.last_15_minutes, &stats.counters.in_all, &stats.dead_letters, cx)
}
