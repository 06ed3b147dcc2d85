//! The commands that change a replay: `replays pause`, `resume`, `cancel` and `delete`.

use clap::Args;
use domain::ports::{ReplayCommand, ReplayState};
use event_replay::{
    Access,
    app::{
        documents::{Deleted, ReplayRequestedDocument},
        replay_state::name_of,
        replays::{self, Rest},
    },
};

use crate::{
    args::{Format, filter},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::plural::count,
};

/// Pause a replay
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays pause 0198f2

It pauses after the current batch. Groups still handle what they already have: the command waits
for that, at most 10 seconds, and says how many events are left. `event-replay replays resume`
continues it.")]
pub(crate) struct PauseArgs {
    /// Its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::replays())]
    pub(super) replay: String,
}

/// Resume a replay
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays resume 0198f2

The process that runs it continues; if that process has ended, any consumer does.")]
pub(crate) struct ResumeArgs {
    /// Its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::replays())]
    pub(super) replay: String,
}

/// Cancel a replay; what was delivered stays delivered
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays cancel 0198f2

Events that wait in the groups' replay lanes are removed.")]
pub(crate) struct CancelArgs {
    /// Its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::replays())]
    pub(super) replay: String,
}

/// Delete the record of a replay that has ended
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays delete 0198f2

Events and their replay counts stay.")]
pub(crate) struct DeleteArgs {
    /// Its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::replays())]
    pub(super) replay: String,
}

/// Sends a command to a replay, and prints the new state of the replay.
pub(super) async fn run(id: &str, command: ReplayCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let requested = replays::request(&stores, &cx.actor, id, command).await?;
    stores.close().await;
    let (id, after) = (&requested.id, requested.state);
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&ReplayRequestedDocument::of(&requested))?,
        Format::Table => cx.printer.line(&sentence(id, command, after))?,
    }
    match requested.rest {
        None => {}
        Some(Rest::Effective) => cx.printer.say("it is paused: nothing more is delivered"),
        Some(Rest::WithGroups(events)) => cx
            .printer
            .warn(&format!("groups still handle {}; nothing more is sent to them", count(events, "event"))),
        Some(Rest::BatchInHand) => {
            cx.printer.warn("the process that runs it pauses after its current batch");
        }
    }
    if (command, after) == (ReplayCommand::Resume, ReplayState::Planned) {
        cx.printer.say("the process that runs it continues; if it has ended, a consumer does");
    }
    Ok(Exit::Ok)
}

fn sentence(id: &str, command: ReplayCommand, after: ReplayState) -> String {
    match (command, after) {
        (ReplayCommand::Resume, ReplayState::Planned | ReplayState::Running) => {
            format!("replay {id} is resumed")
        }
        _ => format!("replay {id} is {}", name_of(after)),
    }
}

/// Deletes the record of a replay that has ended.
pub(super) async fn delete(id: &str, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let deleted = replays::delete(&stores, &cx.actor, id).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&Deleted { deleted: &deleted })?,
        Format::Table => cx.printer.line(&format!("deleted replay {deleted}"))?,
    }
    Ok(Exit::Ok)
}
