//! `groups show`: one group, whole.

use clap::Args;
use domain::{
    Position,
    group::{BlockedKey, ConsumerStatus, Gap, Pending, SegmentStatus},
};
use event_replay::{
    Access,
    app::groups::{self, GroupPosition, HoldState},
};
use jiff::Timestamp;
use serde::Serialize;

use super::list::types;
use crate::{
    args::{Format, group},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, plural::count, table::Table},
};

/// Rows of the ledger that are shown.
const SHOWN: usize = 20;

/// Show one group: segments, consumers, blocked keys
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay groups show mail
  event-replay groups show mail --output json")]
pub(crate) struct ShowArgs {
    /// The group.
    #[arg(value_name = "NAME", value_parser = group::name)]
    name: String,
}

/// A group, as programs read it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    types: Vec<&'a str>,
    key: String,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    #[serde(flatten)]
    pending: Pending,
    lag: u64,
    waiting_since: Option<Timestamp>,
    holds: bool,
    holds_until: Option<Timestamp>,
    segments: &'a [SegmentStatus],
    consumers: &'a [ConsumerStatus],
    blocked: u64,
    blocked_keys: Vec<ShownKey>,
    gaps: &'a [Gap],
}

/// A key that waits.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownKey {
    segment: u16,
    key: String,
    position: Position,
    attempts: u32,
    due: Option<Timestamp>,
    parked: bool,
    error: String,
    since: Timestamp,
}

pub(super) async fn run(args: ShowArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let found = groups::find(&stores, &cx.settings, &args.name).await?;
    let rows = stores.blocked_keys(&args.name, SHOWN).await?;
    stores.close().await;
    let keys = rows.into_iter().map(|(segment, row)| shown_key(&found, segment, row)).collect();
    let shown = shown(&found, keys);
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&shown)?,
        Format::Table => print(&shown, &found, cx)?,
    }
    Ok(Exit::Ok)
}

fn shown(found: &GroupPosition, blocked_keys: Vec<ShownKey>) -> Shown<'_> {
    let record = &found.status.record;
    let holds_until = match found.hold {
        HoldState::Until(until) => Some(until),
        HoldState::ForgottenSince(_) => None,
    };
    Shown {
        name: &record.spec.name,
        types: record.spec.types.iter().map(domain::TypePattern::as_str).collect(),
        key: group::key_text(&record.spec.key),
        created_at: record.created_at,
        last_seen_at: record.last_seen_at,
        pending: found.pending,
        lag: found.lag,
        waiting_since: found.waiting_since,
        holds: holds_until.is_some(),
        holds_until,
        segments: &found.status.segments,
        consumers: &found.status.consumers,
        blocked: found.status.blocked_keys(),
        blocked_keys,
        gaps: &record.gaps,
    }
}

fn shown_key(found: &GroupPosition, segment: u16, row: BlockedKey) -> ShownKey {
    let of = found.status.segments.iter().find(|status| status.segment == segment);
    let partition = of.map_or(0, |status| status.partition);
    ShownKey {
        segment,
        key: row.key.to_string(),
        position: Position::new(partition, row.position),
        attempts: row.attempts,
        due: row.due,
        parked: row.due.is_none(),
        error: row.error,
        since: row.since,
    }
}

fn print(shown: &Shown<'_>, found: &GroupPosition, cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::pairs();
    table.row(["group", shown.name]);
    table.row(["types", &types(&shown.types)]);
    table.row(["ordered by", &shown.key]);
    table.row(["made", &shown.created_at.to_string()]);
    table.row(["last seen", &shown.last_seen_at.to_string()]);
    table.row(["pending", &pending(&shown.pending)]);
    table.row(["lag", &lag(shown)]);
    table.row(["holds", &holding(found)]);
    cx.printer.table(table)?;
    print_consumers(shown, cx)?;
    print_segments(shown, cx)?;
    print_blocked(shown, cx)?;
    print_gaps(shown, cx)
}

fn pending(pending: &Pending) -> String {
    let events = match pending.is_exact {
        true => count(pending.events, "event"),
        false => format!("at least {}", count(pending.events, "event")),
    };
    match pending.oldest {
        Some(oldest) => format!("{events}, the oldest stored at {oldest}"),
        None => events,
    }
}

fn lag(shown: &Shown<'_>) -> String {
    match shown.waiting_since {
        Some(since) => format!("{}, the oldest stored at {since}", count(shown.lag, "event")),
        None => count(shown.lag, "event"),
    }
}

/// Whether retention waits for the group.
fn holding(found: &GroupPosition) -> String {
    match found.hold {
        HoldState::Until(until) => {
            format!("what it has not passed is kept from retention, until {until} if no consumer comes")
        }
        HoldState::ForgottenSince(since) => {
            format!("nothing: no consumer has come for so long that retention stopped waiting at {since}")
        }
    }
}

fn print_consumers(shown: &Shown<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if shown.consumers.is_empty() {
        cx.printer.raw(b"\n")?;
        return cx.printer.line("no consumer is alive");
    }
    let mut table = Table::new(&["consumer", "segments", "alive until"]);
    table.right(1);
    for consumer in shown.consumers {
        table.row([
            consumer.name.as_str(),
            &consumer.segments.to_string(),
            &consumer.alive_until.to_string(),
        ]);
    }
    section(table, cx)
}

fn print_segments(shown: &Shown<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::new(&["segment", "cursor", "consumer", "blocked", "parked", "lane"]);
    (3..6).for_each(|column| table.right(column));
    for segment in shown.segments {
        table.row([
            segment.segment.to_string().as_str(),
            &Position::new(segment.partition, segment.cursor).to_string(),
            segment.consumer.as_deref().unwrap_or("-"),
            &segment.blocked_keys.to_string(),
            &segment.parked_keys.to_string(),
            &segment.lane.to_string(),
        ]);
    }
    section(table, cx)
}

fn print_blocked(shown: &Shown<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if shown.blocked_keys.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["key", "position", "attempts", "due", "error"]);
    table.right(2);
    for key in &shown.blocked_keys {
        table.row([
            escape::short(&key.key, 60),
            key.position.to_string(),
            key.attempts.to_string(),
            key.due.map_or_else(|| "parked".to_owned(), |due| due.to_string()),
            escape::short(&key.error, 80),
        ]);
    }
    section(table, cx)?;
    let more = shown.blocked.saturating_sub(shown.blocked_keys.len() as u64);
    if more > 0 {
        cx.printer.say(&format!("and {}", count(more, "more blocked key")));
    }
    Ok(())
}

fn print_gaps(shown: &Shown<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if shown.gaps.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["gap from", "to", "removed at"]);
    for gap in shown.gaps {
        table.row([
            Position::new(gap.partition, gap.from).to_string(),
            Position::new(gap.partition, gap.to).to_string(),
            gap.at.to_string(),
        ]);
    }
    section(table, cx)?;
    cx.printer.say("retention removed these positions before the group had passed them");
    Ok(())
}

fn section(table: Table, cx: &mut Context<'_>) -> Result<(), CliError> {
    cx.printer.raw(b"\n")?;
    cx.printer.table(table)
}
