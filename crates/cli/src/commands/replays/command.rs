//! Commands to a replay: `replays pause`, `resume`, `cancel` and `delete`.

use clap::Args;
use domain::ports::{ReplayState, ReplayWish};
use event_replay::{
    Access,
    app::{
        replay_state::name_of,
        replays::{self, Requested, Rest},
    },
};
use serde::Serialize;

use crate::{
    args::{Format, filter},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::plural::count,
};

/// Let a replay rest
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays pause 0198f2

It ends after the batch in hand. What was handed to groups already is still handled: that is waited
for, 10 seconds at most, and the answer says whether anything of it may still come. It goes on with
`event-replay replays resume`.")]
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
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    id: &'a str,
    state: ReplayState,
    /// Of a pause: whether nothing is handed over any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective: Option<bool>,
    /// Of a pause: events that groups have in hand; null where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    with_groups: Option<Option<u64>>,
}

impl<'a> Answer<'a> {
    fn of(requested: &'a Requested) -> Self {
        let with_groups = requested.rest.map(|rest| match rest {
            Rest::Effective => Some(0),
            Rest::WithGroups(events) => Some(events),
            Rest::BatchInHand => None,
        });
        let effective = requested.rest.map(|rest| rest == Rest::Effective);
        Self { id: &requested.id, state: requested.state, effective, with_groups }
    }
}

#[derive(Serialize)]
struct Deleted<'a> {
    deleted: &'a str,
}

/// Asks a replay for something, and says what it is from now on.
pub(super) async fn run(id: &str, command: ReplayWish, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let requested = replays::request(&stores, id, command).await?;
    stores.close().await;
    let (id, after) = (&requested.id, requested.state);
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&Answer::of(&requested))?,
        Format::Table => cx.printer.line(&sentence(id, command, after))?,
    }
    match requested.rest {
        None => {}
        Some(Rest::Effective) => cx.printer.say("nothing of it is handed over from now on"),
        Some(Rest::WithGroups(events)) => cx.printer.warn(&format!(
            "its groups have {} of it in hand and still handle them; nothing more goes to them",
            count(events, "event")
        )),
        Some(Rest::BatchInHand) => {
            cx.printer.warn("the process that runs it still has a batch in hand, and rests after it");
        }
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
