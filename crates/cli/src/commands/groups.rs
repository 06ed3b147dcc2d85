//! `groups`: lists, shows and changes the consumer groups of a store.

mod create;
mod delete;
mod list;
mod pause;
mod reset;
mod show;

use clap::Subcommand;
use domain::group::Pending;

use crate::{context::Context, errors::CliError, exit::Exit, output::plural::grouped};

/// Manage consumer groups
#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// Show all groups and their progress
    List(list::ListArgs),
    /// Show one group: segments, consumers, blocked keys
    Show(show::ShowArgs),
    /// Create a group at a position in the log
    Create(create::CreateArgs),
    /// Move a group to another position in the log
    Reset(reset::ResetArgs),
    /// Pause a group: its consumers deliver nothing until it is resumed
    Pause(pause::PauseArgs),
    /// Resume a paused group
    Resume(pause::ResumeArgs),
    /// Delete a group; its dead letters stay
    Delete(delete::DeleteArgs),
}

pub(crate) async fn run(command: GroupsCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        GroupsCommand::List(args) => list::run(args, cx).await,
        GroupsCommand::Show(args) => show::run(args, cx).await,
        GroupsCommand::Create(args) => create::run(args, cx).await,
        GroupsCommand::Reset(args) => reset::run(args, cx).await,
        GroupsCommand::Pause(args) => pause::pause(args, cx).await,
        GroupsCommand::Resume(args) => pause::resume(args, cx).await,
        GroupsCommand::Delete(args) => delete::run(args, cx).await,
    }
}

/// Formats the number of pending events: `1,750`, or `>= 10,000` if it is a lower bound.
pub(super) fn pending_text(pending: &Pending) -> String {
    match pending.is_exact {
        true => grouped(pending.events),
        false => format!(">= {}", grouped(pending.events)),
    }
}
