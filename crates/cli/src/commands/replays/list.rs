//! `replays list`: lists running and ended replays, newest first.

use clap::Args;
use event_replay::{Access, app::replays};
use replay::ReplaySummary;

use super::{selection::which, state_cell};
use crate::{
    args::{self, Format},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::table::{Cell, Table, fixed, id, number, text},
};

/// Show replays, the newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays list
  event-replay replays list --limit 5 --output json")]
pub(crate) struct ListArgs {
    /// At most this many replays.
    #[arg(short = 'n', long, value_name = "N", default_value = "20", value_parser = args::number::limit, allow_hyphen_values = true)]
    limit: u64,
}

pub(super) async fn run(args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX).min(i64::MAX as usize);
    let replays = replays::newest(&stores, limit).await?;
    let prefixes = match cx.printer.format() {
        Format::Table => replays::prefixes(&stores, &replays).await?,
        Format::Json | Format::Ndjson => vec![],
    };
    stores.close().await;
    cx.printer.page();
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json_rows(&replays)?,
        Format::Table if replays.is_empty() => cx.printer.say("there are no replays"),
        Format::Table => print(&replays, &prefixes, cx)?,
    }
    Ok(Exit::Ok)
}

fn print(replays: &[ReplaySummary], prefixes: &[String], cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::new([
        id("id"),
        fixed("state"),
        fixed("made"),
        text("to"),
        number("done"),
        number("of"),
        number("failed"),
        text("events"),
    ]);
    for (replay, prefix) in replays.iter().zip(prefixes) {
        table.row([
            Cell::id(&replay.id, prefix),
            state_cell(replay.state),
            Cell::time(replay.created_at, cx.printer.now()),
            Cell::new(to(replay)),
            Cell::count(replay.done()),
            Cell::count(replay.total_events),
            Cell::count(replay.failed),
            Cell::new(which(replay)),
        ]);
    }
    cx.printer.table(&table)
}

/// Returns the groups or the target of a replay.
pub(super) fn to(replay: &ReplaySummary) -> String {
    match replay.groups.as_slice() {
        [] => replay.target.clone(),
        groups => groups.join(" "),
    }
}
