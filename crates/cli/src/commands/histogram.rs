//! `histogram`: counts events over time.

use std::time::Duration;

use clap::{Args, ValueEnum};
use event_replay::{
    Access,
    app::histogram::{self, Histogram, HistogramBy},
};

use crate::{
    args::{BoundArgs, FilterArgs, Format, number, time},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        plural::{count, grouped},
        table::{Table, fixed, number as number_column, text},
    },
};

/// The width of the longest bar, in characters.
const BAR: u64 = 40;

/// Count events over time
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay histogram --interval 1h --from 2024-01-15 --to 2024-01-16
  event-replay histogram --interval 1m --type 'payment.*' --from 2h
  event-replay histogram --interval 1d --by type --output json

Events are counted by their timestamps, in intervals that begin at multiples of the interval in UTC.
Intervals without events are left out. The command reads every event that matches, so the counts are
exact. At most 1,000 intervals may have events.")]
pub(crate) struct HistogramArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    /// The length of an interval: 30s, 1m, 1h, 1d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = number::duration, allow_hyphen_values = true)]
    interval: Duration,
    /// Count each type or source by itself.
    #[arg(long, value_enum)]
    by: Option<By>,
}

/// The property by which events are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The event type.
    Type,
    /// The source.
    Source,
}

impl From<By> for HistogramBy {
    fn from(by: By) -> Self {
        match by {
            By::Type => Self::Type,
            By::Source => Self::Source,
        }
    }
}

pub(crate) async fn run(args: HistogramArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let filter = args.filter.filter()?;
    let stores = cx.open(Access::Read).await?;
    let bounds = args.bounds.request().resolve(&stores).await?;
    let by = args.by.map(HistogramBy::from);
    let counted = histogram::histogram(&stores, filter, &bounds, args.interval, by).await?;
    stores.close().await;
    cx.printer.page();
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&counted)?,
        Format::Table if counted.intervals.is_empty() => cx.printer.say("no event matches"),
        Format::Table => print(&counted, cx)?,
    }
    if counted.corrupt == 0 {
        return Ok(Exit::Ok);
    }
    cx.printer.warn(&format!("{} could not be read and is not counted", count(counted.corrupt, "event")));
    Ok(Exit::DoneWithFailures)
}

fn print(counted: &Histogram, cx: &mut Context<'_>) -> Result<(), CliError> {
    let most = counted.intervals.iter().map(|interval| interval.events).max().unwrap_or(1);
    let name = match counted.by {
        Some(HistogramBy::Type) => "type",
        Some(HistogramBy::Source) => "source",
        None => "",
    };
    let mut table = Table::new([fixed("from"), number_column("events"), text(name)]);
    for interval in &counted.intervals {
        let start = time::to_milliseconds(interval.start);
        let bar = "█".repeat(length(interval.events, most));
        table.row([&start, &grouped(interval.events), &bar]);
        for (name, events) in &interval.by {
            table.row(["", &grouped(*events), name]);
        }
    }
    cx.printer.table(&table)
}

/// Returns the length of a bar, at least 1.
fn length(events: u64, most: u64) -> usize {
    let length = u128::from(events) * u128::from(BAR) / u128::from(most.max(1));
    usize::try_from(length).unwrap_or(1).max(1)
}
