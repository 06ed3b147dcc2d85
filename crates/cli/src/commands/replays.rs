//! `replays`: shows and controls replays. Every replay leaves a record, and any terminal can watch, pause, resume or
//! cancel it.

mod command;
mod list;
mod pace;
mod retry;
mod selection;
mod show;
mod watch;

use clap::Subcommand;
use domain::ports::{ReplayCommand, ReplayState};
use event_replay::app::replay_state::name_of;

use crate::{
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{style::Tone, table::Cell},
};

/// Manage replays
#[derive(Debug, Subcommand)]
pub(crate) enum ReplaysCommand {
    /// Show replays, the newest first
    List(list::ListArgs),
    /// Show one replay: plan, progress, report
    Show(show::ShowArgs),
    /// Follow a replay until it ends
    Watch(watch::WatchArgs),
    /// Pause a replay
    Pause(command::PauseArgs),
    /// Resume a replay
    Resume(command::ResumeArgs),
    /// Change the pace of a replay while it runs
    Pace(pace::PaceArgs),
    /// Cancel a replay; what was delivered stays delivered
    Cancel(command::CancelArgs),
    /// Replay the events that failed in a replay, and no others
    Retry(Box<retry::RetryArgs>),
    /// Delete the record of a replay that has ended
    Delete(command::DeleteArgs),
}

pub(crate) async fn run(command: ReplaysCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        ReplaysCommand::List(args) => list::run(args, cx).await,
        ReplaysCommand::Show(args) => show::run(args, cx).await,
        ReplaysCommand::Watch(args) => watch::run(args, cx).await,
        ReplaysCommand::Pause(args) => command::run(&args.replay, ReplayCommand::Pause, cx).await,
        ReplaysCommand::Resume(args) => command::run(&args.replay, ReplayCommand::Resume, cx).await,
        ReplaysCommand::Pace(args) => pace::run(args, cx).await,
        ReplaysCommand::Cancel(args) => command::run(&args.replay, ReplayCommand::Cancel, cx).await,
        ReplaysCommand::Retry(args) => retry::run(*args, cx).await,
        ReplaysCommand::Delete(args) => command::delete(&args.replay, cx).await,
    }
}

/// Returns a table cell for a state, with its colour.
fn state_cell(state: ReplayState) -> Cell {
    let tone = match state {
        ReplayState::Completed => Tone::Good,
        ReplayState::Planned | ReplayState::Running => Tone::Busy,
        ReplayState::Paused | ReplayState::Cancelling => Tone::Warn,
        ReplayState::Cancelled => Tone::Quiet,
        ReplayState::Failed => Tone::Bad,
    };
    Cell::state(name_of(state), tone)
}
