//! Commands to a replay: `replays pause`, `resume`, `cancel` and `delete`.

use clap::Args;
use domain::ports::{ReplayState, ReplayWish};
use event_replay::{
    Access,
    app::{replay_state::name_of, replays},
};
use serde::Serialize;

use crate::{
    args::{Format, filter},
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Let a replay rest
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays pause 0198f2

What was handed to groups already is still handled. It goes on with `event-replay replays resume`.")]
pub(crate) struct PauseArgs {
    /// Its id, or enough of its beginning.
    #[arg(value_name = "ID", value_parser = filter::name)]
    pub(super) replay: String,
}

/// Let a replay that rests go on
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays resume 0198f2

The process that runs it goes on; where that one has ended, any process that consumes does.")]
pub(crate) struct ResumeArgs {
    /// Its id, or enough of its beginning.
    #[arg(value_name = "ID", value_parser = filter::name)]
    pub(super) replay: String,
}

/// End a replay; what was handed over stays so
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays cancel 0198f2

What waits in the groups' lanes and was not handed over leaves them.")]
pub(crate) struct CancelArgs {
    /// Its id, or enough of its beginning.
    #[arg(value_name = "ID", value_parser = filter::name)]
    pub(super) replay: String,
}

/// Delete the record of a replay that is over
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays delete 0198f2

Events and their replay counts stay.")]
pub(crate) struct DeleteArgs {
    /// Its id, or enough of its beginning.
    #[arg(value_name = "ID", value_parser = filter::name)]
    pub(super) replay: String,
}

#[derive(Serialize)]
struct Requested<'a> {
    id: &'a str,
    state: ReplayState,
}

#[derive(Serialize)]
struct Deleted<'a> {
    deleted: &'a str,
}

/// Asks a replay for something, and says what it is from now on.
pub(super) async fn run(id: &str, command: ReplayWish, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let (found, after) = replays::request(&stores, id, command).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&Requested { id: &found.id, state: after })?,
        Format::Table => cx.printer.line(&sentence(&found.id, command, after))?,
    }
    if (command, after) == (ReplayWish::Resume, ReplayState::Planned) {
        cx.printer.say(
            "the process that runs it goes on with it; where that one has ended, one that consumes does",
        );
    }
    Ok(Exit::Ok)
}

fn sentence(id: &str, command: ReplayWish, after: ReplayState) -> String {
    match (command, after) {
        (ReplayWish::Resume, ReplayState::Planned | ReplayState::Running) => {
            format!("replay {id} is resumed")
        }
        _ => format!("replay {id} is {}", name_of(after)),
    }
}

/// Deletes the record of a replay that is over.
pub(super) async fn delete(id: &str, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let deleted = replays::delete(&stores, id).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&Deleted { deleted: &deleted })?,
        Format::Table => cx.printer.line(&format!("deleted replay {deleted}"))?,
    }
    Ok(Exit::Ok)
}
