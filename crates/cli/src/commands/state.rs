//! `state`: prints the state of an entity at a moment, folded from its events.

use clap::Args;
use event_replay::{
    Access,
    app::state::{self, EntityState, FoldedEvent},
};
use jiff::Timestamp;

use super::folding::{FoldArgs, interruptible, warn_of_missing};
use crate::{
    args::{Format, time},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, plural::count, pretty::pretty, printer::json_text},
};

/// Show the state of an entity at a moment
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay state user=user-123
  event-replay state user=user-123 --at 2024-01-15T10:30:00Z --output json
  event-replay state payment=pay-7 --type 'payment.*'
  event-replay state user=user-123 --fold \"jq -s 'map(.type)'\"

The state is folded from the events that name the entity, in log order. The `data` of each event is
merged into the state as a JSON Merge Patch (RFC 7396): a member replaces the member of the state,
and null removes it. Objects are merged. With --fold a command decides. It gets the events as
`export` prints them. A command that fails is an error.")]
pub(crate) struct StateArgs {
    #[command(flatten)]
    fold: FoldArgs,
    /// The moment: events count up to and with this timestamp; a date is its last moment [default: all events].
    #[arg(long, value_name = "TIME", value_parser = time::last_point, allow_hyphen_values = true)]
    at: Option<Timestamp>,
}

pub(crate) async fn run(args: StateArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let request = args.fold.request(cx)?;
    let stores = cx.open(Access::Read).await?;
    let state = interruptible(state::state(&stores, &request, args.at)).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&state)?,
        Format::Table => print(&state, cx)?,
    }
    Ok(warn_of_missing(state.corrupt, state.incomplete, cx))
}

fn print(state: &EntityState, cx: &mut Context<'_>) -> Result<(), CliError> {
    cx.printer.page();
    let json = json_text(&state.state)?;
    cx.printer.raw(pretty(&String::from_utf8_lossy(&json), 0).as_bytes())?;
    cx.printer.raw(b"\n")?;
    let last = state.last.as_ref().map(|last| format!("; the last is {}", named(last))).unwrap_or_default();
    cx.printer.say(&format!("{} of {}{last}", count(state.events, "event"), escape::line(&state.entity)));
    Ok(())
}

/// Names an event with its type and its timestamp.
pub(super) fn named(event: &FoldedEvent) -> String {
    let FoldedEvent { id, event_type, timestamp, .. } = event;
    format!("{} ({}) at {timestamp}", escape::line(id), escape::line(event_type))
}
