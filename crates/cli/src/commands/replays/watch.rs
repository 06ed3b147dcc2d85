//! `replays watch`: follows a replay until it ends.

use std::time::Duration;

use clap::Args;
use domain::ports::ReplayState;
use event_replay::{
    Access,
    app::{replay_state::name_of, replays},
};
use replay::{ReplayReport, ReplaySummary};

use super::show;
use crate::{
    args::{Format, filter},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// The interval between two reads of the replay.
const PAUSE: Duration = Duration::from_millis(250);

/// Follow a replay until it ends
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays watch 0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e
  event-replay replays watch 0198f2 --output ndjson

Prints a line whenever something has changed; with --output json or ndjson the replay, one
document a line. Ctrl-C stops watching, not the replay. Exits as the replay did: 3 if events
failed, 1 if it was cancelled or failed.")]
pub(crate) struct WatchArgs {
    /// Its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::replays())]
    replay: String,
}

pub(super) async fn run(args: WatchArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let mut seen: Option<ReplaySummary> = None;
    let last = loop {
        // After the first read the full id is used, because a later replay may have the same prefix.
        let id = seen.as_ref().map_or(&args.replay, |replay| &replay.id);
        let now = replays::find(&stores, id).await?;
        if seen.as_ref().is_none_or(|before| has_changed(before, &now)) {
            say(&now, cx)?;
        }
        if now.state.is_final() {
            break now;
        }
        seen = Some(now);
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
        }
    };
    stores.close().await;
    if cx.printer.format() == Format::Table {
        show::print(&last, cx)?;
    }
    Ok(exit_of(&last))
}

fn has_changed(before: &ReplaySummary, now: &ReplaySummary) -> bool {
    (before.state, before.done(), &before.paused_by) != (now.state, now.done(), &now.paused_by)
}

fn say(replay: &ReplaySummary, cx: &mut Context<'_>) -> Result<(), CliError> {
    match cx.printer.format() {
        Format::Json | Format::Ndjson => {
            cx.printer.json(replay)?;
            cx.printer.flush()
        }
        Format::Table => {
            let reason = replay.paused_by.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            cx.printer.say(&format!("{}{reason}, {}", name_of(replay.state), show::progress(replay)));
            Ok(())
        }
    }
}

fn exit_of(replay: &ReplaySummary) -> Exit {
    let clean = replay.report.as_ref().is_none_or(ReplayReport::is_clean);
    match replay.state {
        ReplayState::Completed if clean => Exit::Ok,
        ReplayState::Completed => Exit::DoneWithFailures,
        _ => Exit::Failed,
    }
}
