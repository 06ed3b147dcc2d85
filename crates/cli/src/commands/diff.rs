//! `diff`: compares the states of an entity at two moments.

use clap::Args;
use event_replay::{
    Access,
    app::state::{self, StateDiff},
};
use jiff::Timestamp;

use super::{
    folding::{FoldArgs, interruptible, warn_of_missing},
    state::named,
};
use crate::{
    args::{Format, time},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{change, plural},
};

/// Compare the states of an entity at two moments
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay diff user=user-123 --from 2024-01-15T10:00:00Z --to 2024-01-15T11:00:00Z
  event-replay diff user=user-123 --from 2h
  event-replay diff user=user-123 --from yesterday --output json --jq .patch
  event-replay diff order=o-7 --from 2024-01-15 --fold './fold-order'

Each state is the state that `event-replay state` shows for that moment. The command prints the
members that differ, and the last event that set each. Exits with 3 if the states differ.")]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    fold: FoldArgs,
    /// The first moment, inclusive; a date is its first moment.
    #[arg(long, value_name = "TIME", value_parser = time::point, allow_hyphen_values = true)]
    from: Timestamp,
    /// The second moment, inclusive; a date is its last moment [default: all events].
    #[arg(long, value_name = "TIME", value_parser = time::last_point, allow_hyphen_values = true)]
    to: Option<Timestamp>,
}

pub(crate) async fn run(args: DiffArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let request = args.fold.request(cx)?;
    let stores = cx.open(Access::Read).await?;
    let diff = interruptible(state::diff(&stores, &request, args.from, args.to)).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&diff)?,
        Format::Table => print(&diff, cx)?,
    }
    let exit = warn_of_missing(diff.corrupt, diff.incomplete, cx);
    Ok(if diff.equal { exit } else { Exit::DoneWithFailures })
}

fn print(diff: &StateDiff, cx: &mut Context<'_>) -> Result<(), CliError> {
    cx.printer.page();
    for changed in &diff.changes {
        let line = change::line(&changed.pointer, changed.old.as_ref(), changed.new.as_ref())?;
        let cause = changed.event.as_ref().map(|event| format!("  by {}", named(event))).unwrap_or_default();
        cx.printer.styled(&format!("{line}{cause}\n"))?;
    }
    let differ = match diff.changes.len() as u64 {
        0 => "the states are equal".to_owned(),
        changes => plural::of(changes, "member differs", "members differ"),
    };
    let last = diff.last.as_ref().map(|last| format!("; the last is {}", named(last))).unwrap_or_default();
    cx.printer.say(&format!("{differ}; {} between{last}", plural::count(diff.events_between, "event")));
    Ok(())
}
