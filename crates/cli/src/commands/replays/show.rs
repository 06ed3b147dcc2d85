//! `replays show`: prints one replay in full.

use clap::Args;
use event_replay::{Access, app::replays};
use replay::ReplaySummary;

use super::{list::to, selection::which, state_cell};
use crate::{
    args::{Format, filter, time},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        plural::grouped,
        table::{Cell, Table, number, text, wrapped},
    },
};

/// Errors that a table shows at most.
const SHOWN: usize = 20;

/// Show one replay: plan, progress, report
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays show 0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e
  event-replay replays show 0198f2 --output json")]
pub(crate) struct ShowArgs {
    /// Its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::replays())]
    replay: String,
}

pub(super) async fn run(args: ShowArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let found = replays::find(&stores, &args.replay).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&found)?,
        Format::Table => print(&found, cx)?,
    }
    Ok(Exit::Ok)
}

/// Prints a replay as tables.
pub(super) fn print(replay: &ReplaySummary, cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::pairs();
    table.row(["replay", &replay.id]);
    table.row([Cell::new("state"), state_cell(replay.state)]);
    table.row(["made", &time::to_milliseconds(replay.created_at)]);
    table.row(["changed", &time::to_milliseconds(replay.updated_at)]);
    table.row(["to", &to(replay)]);
    table.row(["events", &which(replay)]);
    if let Some(limit) = replay.limit {
        table.row(["limit", &grouped(limit)]);
    }
    table.row(["plan", &replay.plan_hash]);
    table.row(["pace", &replay.pace.to_string()]);
    if !replay.ramp.is_empty() {
        table.row(["stages", &stages(&replay.ramp)]);
    }
    if let Some(limit) = replay.failure_limit {
        table.row(["failure limit", &limit.to_string()]);
    }
    table.row(["done", &progress(replay)]);
    if let Some(reason) = &replay.paused_by {
        table.row(["paused", &reason.to_string()]);
    }
    if let Some(ended) = replay.report.as_ref().and_then(|report| report.ended.as_deref()) {
        table.row(["ended early", ended]);
    }
    cx.printer.table(&table)?;
    let Some(report) = &replay.report else { return Ok(()) };
    if !report.groups.is_empty() {
        let mut groups = Table::new([text("group"), number("handled"), number("failed"), number("skipped")]);
        for group in &report.groups {
            let [handled, failed, skipped] = [group.handled, group.failed, group.skipped].map(grouped);
            groups.row([&group.name, &handled, &failed, &skipped]);
        }
        cx.printer.raw(b"\n")?;
        cx.printer.table(&groups)?;
    }
    if !report.errors.is_empty() {
        let mut errors = Table::new([text("event"), text("type"), wrapped("error")]);
        for error in report.errors.iter().take(SHOWN) {
            errors.row([&error.event_id, &error.event_type, &error.error]);
        }
        cx.printer.raw(b"\n")?;
        cx.printer.table(&errors)?;
    }
    Ok(())
}

/// The stages of a ramp, as `--ramp` takes them.
fn stages(ramp: &[u64]) -> String {
    ramp.iter().map(u64::to_string).chain(["all".to_owned()]).collect::<Vec<_>>().join(",")
}

/// Describes the progress of a replay in a line.
pub(super) fn progress(replay: &ReplaySummary) -> String {
    format!(
        "{} of {}: {} handled, {} failed, {} skipped",
        grouped(replay.done()),
        grouped(replay.total_events),
        grouped(replay.successful),
        grouped(replay.failed),
        grouped(replay.skipped)
    )
}
