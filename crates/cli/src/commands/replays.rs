//! `replays`: every replay leaves a record, from which any terminal can watch, pause, resume or cancel it.

mod list;
mod one;
mod show;
mod watch;
mod wish;

use clap::Subcommand;
use domain::ports::{ReplayState, ReplayWish};
use replay::ReplayManager;

use super::Context;
use crate::{
    errors::CliError,
    exit::Exit,
    store::{self, Stores},
};

/// Look after replays
#[derive(Debug, Subcommand)]
pub(crate) enum ReplaysCommand {
    /// Show replays, the newest first
    List(list::ListArgs),
    /// Show one replay: its plan, how far it is, its report
    Show(show::ShowArgs),
    /// Follow a replay until it is over
    Watch(watch::WatchArgs),
    /// Let a replay rest
    Pause(wish::PauseArgs),
    /// Let a replay that rests go on
    Resume(wish::ResumeArgs),
    /// End a replay; what was handed over stays so
    Cancel(wish::CancelArgs),
    /// Delete the record of a replay that is over
    Delete(wish::DeleteArgs),
}

pub(crate) async fn run(command: ReplaysCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        ReplaysCommand::List(args) => list::run(args, cx).await,
        ReplaysCommand::Show(args) => show::run(args, cx).await,
        ReplaysCommand::Watch(args) => watch::run(args, cx).await,
        ReplaysCommand::Pause(args) => wish::run(&args.replay, ReplayWish::Pause, cx).await,
        ReplaysCommand::Resume(args) => wish::run(&args.replay, ReplayWish::Resume, cx).await,
        ReplaysCommand::Cancel(args) => wish::run(&args.replay, ReplayWish::Cancel, cx).await,
        ReplaysCommand::Delete(args) => wish::delete(&args.replay, cx).await,
    }
}

/// What looks after the records of replays, and after what they have in groups' lanes.
fn manager(stores: &Stores) -> ReplayManager {
    let (events, replays) = (stores.events.clone(), stores.replays.clone());
    ReplayManager::new(events, replays, stores.checkpoints.clone(), None, store::clock())
        .with_groups(stores.groups.clone())
}

/// A state, for people.
fn state(state: ReplayState) -> &'static str {
    match state {
        ReplayState::Planned => "planned",
        ReplayState::Running => "running",
        ReplayState::Paused => "paused",
        ReplayState::Cancelling => "cancelling",
        ReplayState::Cancelled => "cancelled",
        ReplayState::Completed => "completed",
        ReplayState::Failed => "failed",
    }
}
