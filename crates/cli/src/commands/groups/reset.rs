//! `groups reset`: moves a group to another position in the log.

use clap::Args;
use event_replay::{
    Access,
    app::{documents::GroupMovedDocument, groups},
};

use crate::{
    args::{Format, group},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::plural::count,
};

/// Move a group to another position in the log
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay groups reset mail --at start --dry-run
  event-replay groups reset mail --at before-migration
  event-replay groups reset mail --at 2h
  event-replay groups reset mail --at head

A place is start, head, a checkpoint, or a time: the place before the first event that was
stored then or later. Everything after it is delivered again, or passed over where the place
lies ahead. Blocked keys are released, consumers restart, and what waits in the replay
lane stays. To send a slice again, use `replay --group`.")]
pub(crate) struct ResetArgs {
    /// The group.
    #[arg(value_name = "NAME", value_parser = group::name, add = complete::groups())]
    name: String,
    /// Its new position: start, head, a checkpoint, or a time.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true, add = complete::places())]
    at: String,
    /// Print where it would go, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(args: ResetArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let stores = cx.open(access).await?;
    let resetting = groups::reset(&stores, &cx.actor, &cx.settings, &args.name, &args.at, args.dry_run);
    let moved = resetting.await?;
    stores.close().await;
    let moved = GroupMovedDocument::of(&args.name, &moved, args.dry_run);
    print(&moved, cx)?;
    Ok(Exit::Ok)
}

fn print(moved: &GroupMovedDocument<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if cx.printer.format() != Format::Table {
        return cx.printer.json(moved);
    }
    let verb = if moved.dry_run { "would move" } else { "moved" };
    let (name, from, to) = (moved.name, moved.from.join(" "), moved.to.join(" "));
    let released = match moved.released {
        0 => String::new(),
        keys => format!(", {} released", count(keys, "blocked key")),
    };
    cx.printer.line(&format!(
        "{verb} group {name} from {from} to {to}: {} after it{released}",
        count(moved.lag, "event")
    ))
}
