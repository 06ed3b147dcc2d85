//! `groups show`: prints one group in full.

use clap::Args;
use domain::{
    Position,
    group::{GroupPause, Pending},
};
use event_replay::{
    Access,
    app::{
        documents::GroupDocument,
        groups::{self, GroupPosition, HoldState},
    },
};

use super::list::types;
use crate::{
    args::{Format, group, time},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        plural::count,
        style::Tone,
        table::{Cell, Table, fixed, number, text},
    },
};

/// Show one group: segments, consumers, blocked keys
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay groups show mail
  event-replay groups show mail --output json")]
pub(crate) struct ShowArgs {
    /// The group.
    #[arg(value_name = "NAME", value_parser = group::name, add = complete::groups())]
    name: String,
}

pub(super) async fn run(args: ShowArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let found = groups::find(&stores, &cx.settings, &args.name).await?;
    let rows = stores.blocked_keys(&args.name, GroupDocument::MAX_BLOCKED_KEYS).await?;
    stores.close().await;
    let shown = GroupDocument::of(&found, rows);
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&shown)?,
        Format::Table => print(&shown, &found, cx)?,
    }
    Ok(Exit::Ok)
}

fn print(shown: &GroupDocument<'_>, found: &GroupPosition, cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::pairs();
    table.row(["group", shown.name]);
    table.row(["types", &types(&shown.types)]);
    table.row(["ordered by", &shown.key]);
    table.row(["made", &time::to_milliseconds(shown.created_at)]);
    table.row(["last seen", &time::to_milliseconds(shown.last_seen_at)]);
    table.row(["pending", &pending(&shown.pending)]);
    table.row(["lag", &lag(shown)]);
    table.row(["holds", &holding(found)]);
    for pause in shown.pauses {
        table.row([Cell::new("paused"), Cell::state(&paused(pause), Tone::Warn)]);
    }
    cx.printer.table(&table)?;
    print_consumers(shown, cx)?;
    print_segments(shown, cx)?;
    print_blocked(shown, cx)?;
    print_gaps(shown, cx)
}

fn paused(pause: &GroupPause) -> String {
    let (since, by) = (time::to_milliseconds(pause.since), escape::short(&pause.by, 60));
    let reason = pause
        .reason
        .as_deref()
        .map_or_else(String::new, |reason| format!(": {}", escape::short(reason, 200)));
    let until =
        pause.until.map_or_else(String::new, |until| format!(", until {}", time::to_milliseconds(until)));
    format!("since {since} by {by}{until}{reason}")
}

fn pending(pending: &Pending) -> String {
    let events = match pending.is_exact {
        true => count(pending.events, "event"),
        false => format!("at least {}", count(pending.events, "event")),
    };
    match pending.oldest {
        Some(oldest) => format!("{events}, the oldest stored at {}", time::to_milliseconds(oldest)),
        None => events,
    }
}

fn lag(shown: &GroupDocument<'_>) -> String {
    match shown.waiting_since {
        Some(since) => {
            format!("{}, the oldest stored at {}", count(shown.lag, "event"), time::to_milliseconds(since))
        }
        None => count(shown.lag, "event"),
    }
}

/// Describes whether retention waits for the group.
fn holding(found: &GroupPosition) -> String {
    match found.hold {
        HoldState::Until(until) => {
            let until = time::to_milliseconds(until);
            format!("retention keeps what it has not passed, until {until} if no consumer connects")
        }
        HoldState::ForgottenSince(since) => {
            let since = time::to_milliseconds(since);
            format!(
                "nothing: no consumer has connected for so long that retention stopped waiting at {since}"
            )
        }
    }
}

fn print_consumers(shown: &GroupDocument<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if shown.consumers.is_empty() {
        cx.printer.raw(b"\n")?;
        return cx.printer.line("no consumers");
    }
    let mut table = Table::new([text("consumer"), number("segments"), fixed("alive until")]);
    for consumer in shown.consumers {
        table.row([
            consumer.name.clone(),
            consumer.segments.to_string(),
            time::to_milliseconds(consumer.alive_until),
        ]);
    }
    section(&table, cx)
}

fn print_segments(shown: &GroupDocument<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    let columns = [
        number("segment"),
        fixed("cursor"),
        text("consumer"),
        number("blocked"),
        number("parked"),
        number("lane"),
    ];
    let mut table = Table::new(columns);
    for segment in shown.segments {
        table.row([
            Cell::new(segment.segment.to_string()),
            Cell::new(Position::new(segment.partition, segment.cursor).to_string()),
            Cell::new(segment.consumer.as_deref().unwrap_or("-")),
            Cell::count(segment.blocked_keys),
            Cell::count(segment.parked_keys),
            Cell::count(segment.lane),
        ]);
    }
    section(&table, cx)
}

fn print_blocked(shown: &GroupDocument<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if shown.blocked_keys.is_empty() {
        return Ok(());
    }
    let columns = [text("key"), fixed("position"), number("attempts"), fixed("due"), text("error")];
    let mut table = Table::new(columns);
    for key in &shown.blocked_keys {
        table.row([
            Cell::new(&key.key),
            Cell::new(key.position.to_string()),
            Cell::count(key.attempts.into()),
            key.due.map_or_else(
                || Cell::state("parked", Tone::Warn),
                |due| Cell::new(time::to_milliseconds(due)),
            ),
            Cell::new(&key.error),
        ]);
    }
    section(&table, cx)?;
    let more = shown.blocked.saturating_sub(shown.blocked_keys.len() as u64);
    if more > 0 {
        cx.printer.say(&format!("and {}", count(more, "more blocked key")));
    }
    Ok(())
}

fn print_gaps(shown: &GroupDocument<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if shown.gaps.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([fixed("gap from"), fixed("to"), fixed("removed at")]);
    for gap in shown.gaps {
        table.row([
            Position::new(gap.partition, gap.from).to_string(),
            Position::new(gap.partition, gap.to).to_string(),
            time::to_milliseconds(gap.at),
        ]);
    }
    section(&table, cx)?;
    cx.printer.say("retention removed these positions before the group had passed them");
    Ok(())
}

fn section(table: &Table, cx: &mut Context<'_>) -> Result<(), CliError> {
    cx.printer.raw(b"\n")?;
    cx.printer.table(table)
}
