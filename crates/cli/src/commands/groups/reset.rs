//! `groups reset`: a group to another place in the log.

use clap::Args;
use event_replay::{
    Access,
    app::groups::{self, positions},
};
use serde::Serialize;

use crate::{
    args::{Format, group},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::plural::count,
};

/// Move a group to another place in the log
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay groups reset mail --at start --dry-run
  event-replay groups reset mail --at before-migration
  event-replay groups reset mail --at 2h
  event-replay groups reset mail --at head

A place is start, head, a checkpoint, or a time: the place before the first event that was
stored then or later. Everything after it is delivered again, or passed over where the place
lies ahead. Keys that are blocked are let go, whoever consumes begins anew, and what waits in
the replay lane stays. To send a slice again, `replay --group` is the better tool.")]
pub(crate) struct ResetArgs {
    /// The group.
    #[arg(value_name = "NAME", value_parser = group::name)]
    name: String,
    /// Where it goes: start, head, a checkpoint, or a time.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    at: String,
    /// Say where it would go, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Moved<'a> {
    dry_run: bool,
    name: &'a str,
    from: Vec<String>,
    to: Vec<String>,
    /// Keys that were blocked and are let go.
    released: u64,
    /// Events in the log after the new place.
    lag: u64,
}

pub(super) async fn run(args: ResetArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let stores = cx.open(access).await?;
    let moved = groups::reset(&stores, &cx.settings, &args.name, &args.at, args.dry_run).await?;
    stores.close().await;
    let moved = Moved {
        dry_run: args.dry_run,
        name: &args.name,
        from: positions(&moved.from),
        to: positions(&moved.to),
        released: moved.released,
        lag: moved.lag,
    };
    print(&moved, cx)?;
    Ok(Exit::Ok)
}

fn print(moved: &Moved<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if cx.printer.format() != Format::Table {
        return cx.printer.json(moved);
    }
    let verb = if moved.dry_run { "would move" } else { "moved" };
    let (name, from, to) = (moved.name, moved.from.join(" "), moved.to.join(" "));
    let released = match moved.released {
        0 => String::new(),
        keys => format!(", {} let go", count(keys, "blocked key")),
    };
    cx.printer.line(&format!(
        "{verb} group {name} from {from} to {to}: {} after it{released}",
        count(moved.lag, "event")
    ))
}
