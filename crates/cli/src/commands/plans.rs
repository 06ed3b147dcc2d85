//! `plans`: shows and changes kept plans of replays, which another operator can check and approve.

mod approve;
mod delete;
mod list;
mod show;

use clap::Subcommand;

pub(super) use self::show::print_kept;
use crate::{context::Context, errors::CliError, exit::Exit};

/// Manage kept plans: show, approve, delete
#[derive(Debug, Subcommand)]
pub(crate) enum PlansCommand {
    /// Show kept plans, the newest first
    List(list::ListArgs),
    /// Show one kept plan, or its events
    Show(show::ShowArgs),
    /// Approve another operator's plan, for one run
    Approve(approve::ApproveArgs),
    /// Delete a kept plan
    Delete(delete::DeleteArgs),
}

pub(crate) async fn run(command: PlansCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        PlansCommand::List(args) => list::run(args, cx).await,
        PlansCommand::Show(args) => show::run(args, cx).await,
        PlansCommand::Approve(args) => approve::run(args, cx).await,
        PlansCommand::Delete(args) => delete::run(args, cx).await,
    }
}
