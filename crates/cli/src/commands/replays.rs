//! `replays`: every replay leaves a record, from which any terminal can watch, pause, resume or cancel it.

mod command;
mod list;
mod selection;
mod show;
mod watch;

use clap::Subcommand;
use domain::ports::ReplayWish;

use crate::{context::Context, errors::CliError, exit::Exit};

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
    Pause(command::PauseArgs),
    /// Let a replay that rests go on
    Resume(command::ResumeArgs),
    /// End a replay; what was handed over stays so
    Cancel(command::CancelArgs),
    /// Delete the record of a replay that is over
    Delete(command::DeleteArgs),
}

pub(crate) async fn run(command: ReplaysCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        ReplaysCommand::List(args) => list::run(args, cx).await,
        ReplaysCommand::Show(args) => show::run(args, cx).await,
        ReplaysCommand::Watch(args) => watch::run(args, cx).await,
        ReplaysCommand::Pause(args) => command::run(&args.replay, ReplayWish::Pause, cx).await,
        ReplaysCommand::Resume(args) => command::run(&args.replay, ReplayWish::Resume, cx).await,
        ReplaysCommand::Cancel(args) => command::run(&args.replay, ReplayWish::Cancel, cx).await,
        ReplaysCommand::Delete(args) => command::delete(&args.replay, cx).await,
    }
}
