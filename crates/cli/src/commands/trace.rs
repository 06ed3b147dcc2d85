//! `trace`: prints the events of a correlation as a tree of causes, with the state of each event in each group.

mod drawn;

use clap::Args;
use event_replay::{
    Access,
    app::{
        replay_state::name_of,
        trace::{self, DeliveryWord, GroupDelivery, Trace, TracedEvent},
    },
};

use crate::{
    args::{Format, filter, number},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        plural::{self, count},
        table::{self, Cell, Table, fixed, id, text},
    },
};

/// Show what a workflow's events led to, and what each group did with them
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay trace workflow-payment-123
  event-replay trace workflow-payment-123 --output json

Each event stands under the event that its causationId names. The state of an event
in a group is waiting, in flight, retrying, handled, dead letter, redriving or discarded. A blocked
event waits behind an earlier event of its key. A skipped event is not of the group's types, or is
older than the group's start. A passed event may have expired, or was dropped where dead letters
were off.")]
pub(crate) struct TraceArgs {
    /// The correlation id.
    #[arg(value_name = "CORRELATION", value_parser = filter::name)]
    correlation: String,
    /// At most this many events, the oldest of the correlation.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = number::limit, allow_hyphen_values = true)]
    limit: u64,
}

pub(crate) async fn run(args: TraceArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let trace = trace::trace(&stores, &args.correlation, limit).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json => cx.printer.json(&trace)?,
        Format::Ndjson => cx.printer.json_rows(&trace.events)?,
        Format::Table => print(&trace, cx)?,
    }
    Ok(Exit::Ok)
}

fn print(trace: &Trace, cx: &mut Context<'_>) -> Result<(), CliError> {
    let groups: Vec<&str> = trace
        .events
        .first()
        .map_or_else(Vec::new, |event| event.deliveries.iter().map(|of| of.group.as_str()).collect());
    let first = ["event", "type", "time"].map(fixed);
    let mut table = Table::new(first.into_iter().chain(groups.into_iter().map(fixed)));
    let depths: Vec<usize> = trace.events.iter().map(|event| event.depth).collect();
    for (event, branch) in trace.events.iter().zip(drawn::branches(&depths)) {
        let marks = marks(event);
        let first = [format!("{branch}{}{marks}", event.id), event.event_type.clone(), time(event)];
        table.row(first.into_iter().chain(event.deliveries.iter().map(words)));
    }
    cx.printer.table(&table)?;
    print_replays(trace, cx)?;
    say_what_is_odd(trace, cx);
    Ok(())
}

fn marks(event: &TracedEvent) -> &'static str {
    match (event.orphan, event.cycle) {
        (true, _) => " (orphan)",
        (_, true) => " (cycle)",
        _ => "",
    }
}

/// Formats the time of an event. A root of the tree has its timestamp, and other events have the time since their
/// cause.
fn time(event: &TracedEvent) -> String {
    match event.since_cause_ms {
        None => event.timestamp.to_string(),
        Some(milliseconds) => {
            let sign = if milliseconds < 0 { '-' } else { '+' };
            let span = std::time::Duration::from_millis(milliseconds.unsigned_abs());
            format!("{sign}{}", humantime::format_duration(span))
        }
    }
}

/// Describes the state of an event in a group.
pub(crate) fn words(delivery: &GroupDelivery) -> String {
    match delivery.state {
        DeliveryWord::Waiting => "waiting".to_owned(),
        DeliveryWord::InFlight => "in flight".to_owned(),
        DeliveryWord::Retrying => {
            let attempts = delivery.attempts.unwrap_or(0);
            format!("retrying after {}", count(attempts.into(), "attempt"))
        }
        DeliveryWord::Blocked => match &delivery.behind {
            Some(behind) if delivery.parked => format!("parked behind {behind}"),
            Some(behind) => format!("blocked behind {behind}"),
            None => "blocked".to_owned(),
        },
        DeliveryWord::Handled => "handled".to_owned(),
        DeliveryWord::Passed => "passed".to_owned(),
        DeliveryWord::DeadLetter => "dead letter".to_owned(),
        DeliveryWord::Redriving => "redriving".to_owned(),
        DeliveryWord::Discarded => "discarded".to_owned(),
        DeliveryWord::Skipped => "skipped".to_owned(),
    }
}

fn print_replays(trace: &Trace, cx: &mut Context<'_>) -> Result<(), CliError> {
    if trace.replays.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([
        id("replay"),
        fixed("state"),
        fixed("made"),
        text("to"),
        table::number("of these events"),
    ]);
    for replay in &trace.replays {
        let to = if replay.groups.is_empty() { replay.target.clone() } else { replay.groups.join(" ") };
        table.row([
            Cell::new(&replay.id),
            Cell::new(name_of(replay.state)),
            Cell::time(replay.created_at, cx.printer.now()),
            Cell::new(to),
            Cell::count(replay.events),
        ]);
    }
    cx.printer.raw(b"\n")?;
    cx.printer.table(&table)
}

fn say_what_is_odd(trace: &Trace, cx: &Context<'_>) {
    if trace.truncated {
        let shown = trace.events.len();
        cx.printer.say(&format!("{shown} of {}: --limit N shows more", count(trace.total_events, "event")));
    }
    for event in trace.events.iter().filter(|event| event.orphan) {
        let cause = event.causation_id.as_deref().unwrap_or_default();
        let of = match &event.cause_correlation_id {
            Some(other) => format!("has the correlation id {}", escape::line(other)),
            None => "is not in the log, or has no correlation id".to_owned(),
        };
        cx.printer.say(&format!("{}: its cause {} {of}", escape::line(&event.id), escape::line(cause)));
    }
    if !trace.cycles.is_empty() {
        let are = plural::of(
            trace.cycles.len() as u64,
            "event is among its own causes",
            "events are among their own causes",
        );
        cx.printer.say(&format!("{are}: {}", escape::line(&trace.cycles.join(", "))));
    }
}
