//! `stats`: what is stored, counted, and what was counted on the way.

mod counters;

use std::collections::BTreeMap;

use clap::Args;
use event_replay::{Access, StoreHandle, app};
use jiff::Timestamp;
use replay::PlanRequest;
use serde::Serialize;
use stats::Window;

use self::counters::{Counters, DeadLetters};
use super::replaying::print_counts;
use crate::{
    args::{FilterArgs, Format},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::table::Table,
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stats<'a> {
    store: String,
    namespace: &'a str,
    events: u64,
    bytes: u64,
    oldest: Option<Timestamp>,
    newest: Option<Timestamp>,
    /// The newest position of each partition.
    head: Vec<String>,
    trimmed_through: &'a [u64],
    bytes_occupied: Option<u64>,
    corrupt: u64,
    by_type: &'a BTreeMap<String, u64>,
    by_source: &'a BTreeMap<String, u64>,
    by_entity_kind: &'a BTreeMap<String, u64>,
    by_day: &'a BTreeMap<String, u64>,
    counters: OverTime,
    dead_letters: DeadLetters,
}

/// Counters of every process that uses the store.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OverTime {
    last_15_minutes: Counters,
    in_all: Counters,
}

pub(crate) async fn run(args: StatsArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let filter = args.filter.filter()?;
    let stores = cx.open(Access::Read).await?;
    let info = stores.info().await?;
    let bar = cx.printer.bar("counting", Some(0));
    let manager = app::replay::manager(&stores);
    let request = PlanRequest { until: Some(info.head.clone()), ..PlanRequest::new(filter) };
    let counted = manager.plan(request, Some(bar.callback())).await?;
    bar.clear();
    drop(manager);
    let counters = over_time(&stores).await?;
    let dead_letters = counters::dead_letters(&stores.count_dead_letters().await?);
    stores.close().await;
    let stats = Stats {
        store: cx.settings.store.to_string(),
        namespace: &info.namespace,
        events: counted.total_events,
        bytes: counted.total_bytes,
        oldest: counted.oldest,
        newest: counted.newest,
        head: (0u16..)
            .zip(&info.head.sequences)
            .map(|(partition, sequence)| format!("{partition}:{sequence}"))
            .collect(),
        trimmed_through: &info.trimmed_through,
        bytes_occupied: info.bytes_occupied,
        corrupt: counted.corrupt,
        by_type: &counted.by_type,
        by_source: &counted.by_source,
        by_entity_kind: &counted.by_entity_kind,
        by_day: &counted.by_day,
        counters,
        dead_letters,
    };
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&stats)?,
        Format::Table => print(&stats, cx)?,
    }
    Ok(if counted.corrupt > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}

fn print(stats: &Stats<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::pairs();
    table.row(["store", &stats.store]);
    table.row(["namespace", stats.namespace]);
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
    print_counts("type", stats.by_type, cx)?;
    print_counts("source", stats.by_source, cx)?;
    print_counts("entity kind", stats.by_entity_kind, cx)?;
    counters::print(&stats.counters.last_15_minutes, &stats.counters.in_all, &stats.dead_letters, cx)
}

async fn over_time(stores: &StoreHandle) -> Result<OverTime, CliError> {
    let all = stores.stats(None).await?;
    let since = Window::first_minute(app::clock().now());
    let recent = all.iter().filter(|sample| sample.minute >= since);
    Ok(OverTime { last_15_minutes: Counters::of(recent), in_all: Counters::of(&all) })
}
