//! `scheduled`: lists and cancels events that wait for their time.

use clap::{Args, Subcommand};
use domain::ports::ScheduledEvent;
use event_replay::{
    Access,
    app::documents::{CancelledDocument, ScheduledDocument, ScheduledList},
};

use crate::{
    args::{Format, filter, number},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        plural::count,
        table::{Cell, Table, fixed, text},
    },
};

/// Manage scheduled events
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduledCommand {
    /// Show scheduled events, the earliest first
    List(ListArgs),
    /// Cancel scheduled events
    Cancel(CancelArgs),
}

/// Show scheduled events, the earliest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay scheduled list
  event-replay scheduled list --limit 100 --output ndjson")]
pub(crate) struct ListArgs {
    /// At most this many events.
    #[arg(short = 'n', long, value_name = "N", default_value = "20", value_parser = number::limit, allow_hyphen_values = true)]
    limit: u64,
}

/// Cancel scheduled events
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay scheduled cancel evt-17
  event-replay scheduled cancel evt-17 evt-18

An event that is already in the log is not cancelled. Exits 1 if one of the ids is not scheduled.")]
pub(crate) struct CancelArgs {
    /// Event ids.
    #[arg(value_name = "ID", required = true, value_parser = filter::name)]
    ids: Vec<String>,
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
    let rows: Vec<ScheduledDocument> = found.iter().map(ScheduledDocument::of).collect();
    match cx.printer.format() {
        Format::Json => cx.printer.json(&ScheduledList { scheduled: rows })?,
        Format::Ndjson => rows.iter().try_for_each(|row| cx.printer.json(row))?,
        Format::Table if found.is_empty() => cx.printer.say("no events are scheduled"),
        Format::Table => {
            let mut table = Table::new([
                fixed("due"),
                text("id"),
                text("type"),
                text("source").optional(2),
                fixed("priority").optional(1),
                fixed("expires"),
            ]);
            for ScheduledEvent { event, due, .. } in &found {
                let options = event.options();
                table.row([
                    Cell::time(*due, cx.printer.now()),
                    Cell::new(event.id()),
                    Cell::new(event.event_type()),
                    Cell::new(event.source()),
                    Cell::new(format!("{:?}", options.priority).to_lowercase()),
                    Cell::time_or_dash(options.expires_at, cx.printer.now()),
                ]);
            }
            cx.printer.table(&table)?;
            if found.len() == limit {
                cx.printer.say("there may be more: raise --limit");
            }
        }
    }
    Ok(Exit::Ok)
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
            cx.printer.json(&CancelledDocument { cancelled, unknown: unknown.clone() })?;
        }
    }
    if unknown.is_empty() {
        return Ok(Exit::Ok);
    }
    cx.printer.flush()?;
    let names: Vec<String> = unknown.iter().map(|id| format!("{:?}", escape::line(id))).collect();
    Err(CliError::failed(format!("no event is scheduled under the id {}", names.join(" or "))).hint(
        "`event-replay scheduled list` shows scheduled events; `show ID` finds an event that is in the log",
    ))
}
