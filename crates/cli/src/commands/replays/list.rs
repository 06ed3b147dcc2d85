//! `replays list`: what was replayed, and what is being replayed.

use clap::Args;
use event_replay::{
    Access,
    app::{replay_state::name_of, replays},
};
use replay::ReplaySummary;

use super::selection::which;
use crate::{
    args::{Format, number},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, table::Table},
};

/// Show replays, the newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays list
  event-replay replays list --limit 5 --output json")]
pub(crate) struct ListArgs {
    /// At most this many replays.
    #[arg(long, value_name = "N", default_value = "20", value_parser = number::limit, allow_hyphen_values = true)]
    limit: u64,
}

pub(super) async fn run(args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX).min(i64::MAX as usize);
    let replays = replays::newest(&stores, limit).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json_rows(&replays)?,
        Format::Table if replays.is_empty() => cx.printer.say("nothing was replayed yet"),
        Format::Table => print(&replays, cx)?,
    }
    Ok(Exit::Ok)
}

fn print(replays: &[ReplaySummary], cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::new(&["id", "state", "made", "to", "done", "of", "failed", "events"]);
    (4..7).for_each(|column| table.right(column));
    for replay in replays {
        table.row([
            replay.id.as_str(),
            name_of(replay.state),
            &replay.created_at.to_string(),
            &to(replay),
            &replay.done().to_string(),
            &replay.total_events.to_string(),
            &replay.failed.to_string(),
            &escape::short(&which(replay), 60),
        ]);
    }
    cx.printer.table(table)
}

/// Where a replay goes, for people.
pub(super) fn to(replay: &ReplaySummary) -> String {
    match replay.groups.as_slice() {
        [] => replay.target.clone(),
        groups => groups.join(" "),
    }
}
