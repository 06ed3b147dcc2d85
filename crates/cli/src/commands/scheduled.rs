//! `scheduled`: events that were published to come later.

use clap::{Args, Subcommand};
use domain::{Priority, ports::ScheduledEvent};
use event_replay::Access;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    args::{Format, filter, number},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, plural::count, table::Table},
};

/// Look after events that wait for their time
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduledCommand {
    /// Show the events that wait, the earliest first
    List(ListArgs),
    /// Take events out of the schedule
    Cancel(CancelArgs),
}

/// Show the events that wait, the earliest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay scheduled list
  event-replay scheduled list --limit 100 --output ndjson")]
pub(crate) struct ListArgs {
    /// At most this many events.
    #[arg(long, value_name = "N", default_value = "20", value_parser = number::limit, allow_hyphen_values = true)]
    limit: u64,
}

/// Take events out of the schedule
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay scheduled cancel evt-17
  event-replay scheduled cancel evt-17 evt-18

An event that is in the log already is not cancelled. Exits 1 if one of the ids does not wait.")]
pub(crate) struct CancelArgs {
    /// Event ids.
    #[arg(value_name = "ID", required = true, value_parser = filter::name)]
    ids: Vec<String>,
}

#[derive(Serialize)]
struct List {
    scheduled: Vec<Row>,
}

/// An event that waits.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    event: Option<Box<RawValue>>,
    due: Timestamp,
    scheduled_at: Timestamp,
    priority: Priority,
    expires_at: Option<Timestamp>,
    retries: Option<u16>,
}

#[derive(Serialize)]
struct Cancelled<'a> {
    cancelled: Vec<&'a str>,
    unknown: Vec<&'a str>,
}

pub(crate) async fn run(command: ScheduledCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        ScheduledCommand::List(args) => list(&args, cx).await,
        ScheduledCommand::Cancel(args) => cancel(&args, cx).await,
    }
}

async fn list(args: &ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX).min(i64::MAX as usize);
    let found = stores.scheduled(limit).await?;
    stores.close().await;
    let rows: Vec<Row> = found.iter().map(row).collect();
    match cx.printer.format() {
        Format::Json => cx.printer.json(&List { scheduled: rows })?,
        Format::Ndjson => rows.iter().try_for_each(|row| cx.printer.json(row))?,
        Format::Table if found.is_empty() => cx.printer.say("no event waits for its time"),
        Format::Table => {
            let mut table = Table::new(&["due", "id", "type", "source", "priority", "expires"]);
            for ScheduledEvent { event, due, .. } in &found {
                let options = event.options();
                table.row([
                    due.to_string(),
                    escape::short(event.id(), 60),
                    escape::short(event.event_type(), 60),
                    escape::short(event.source(), 40),
                    format!("{:?}", options.priority).to_lowercase(),
                    options.expires_at.map_or_else(|| "-".to_owned(), |time| time.to_string()),
                ]);
            }
            cx.printer.table(table)?;
            if found.len() == limit {
                cx.printer.say("there may be more: raise --limit");
            }
        }
    }
    Ok(Exit::Ok)
}

fn row(scheduled: &ScheduledEvent) -> Row {
    let options = scheduled.event.options();
    let mut line = Vec::new();
    targets::write_event(&scheduled.event, &mut line);
    let event = String::from_utf8(line).ok().and_then(|text| RawValue::from_string(text).ok());
    Row {
        event,
        due: scheduled.due,
        scheduled_at: scheduled.scheduled_at,
        priority: options.priority,
        expires_at: options.expires_at,
        retries: options.retries,
    }
}

async fn cancel(args: &CancelArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let (mut cancelled, mut unknown) = (vec![], vec![]);
    for id in &args.ids {
        match stores.cancel_scheduled(id).await? {
            true => cancelled.push(id.as_str()),
            false => unknown.push(id.as_str()),
        }
    }
    stores.close().await;
    match cx.printer.format() {
        Format::Table => cx.printer.line(&format!("cancelled {}", count(cancelled.len() as u64, "event")))?,
        Format::Json | Format::Ndjson => {
            cx.printer.json(&Cancelled { cancelled, unknown: unknown.clone() })?;
        }
    }
    if unknown.is_empty() {
        return Ok(Exit::Ok);
    }
    cx.printer.flush()?;
    let names: Vec<String> = unknown.iter().map(|id| format!("{:?}", escape::line(id))).collect();
    Err(CliError::failed(format!("no event waits under the id {}", names.join(" or "))).hint(
        "`event-replay scheduled list` shows those that wait; `show ID` finds one that came into the log",
    ))
}
