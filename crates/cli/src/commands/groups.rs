//! `groups`: the consumer groups of a store, how they are doing, and where they stand.

mod create;
mod delete;
mod list;
mod reset;
mod show;

use clap::Subcommand;

use crate::{context::Context, errors::CliError, exit::Exit};

/// Look after consumer groups
#[derive(Debug, Subcommand)]
pub(crate) enum GroupsCommand {
    /// Show all groups and how far they are
    List(list::ListArgs),
    /// Show one group: segments, consumers, blocked keys
    Show(show::ShowArgs),
    /// Make a group, at a place in the log
    Create(create::CreateArgs),
    /// Move a group to another place in the log
    Reset(reset::ResetArgs),
    /// Delete a group; its dead letters stay
    Delete(delete::DeleteArgs),
}

pub(crate) async fn run(command: GroupsCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        GroupsCommand::List(args) => list::run(args, cx).await,
        GroupsCommand::Show(args) => show::run(args, cx).await,
        GroupsCommand::Create(args) => create::run(args, cx).await,
        GroupsCommand::Reset(args) => reset::run(args, cx).await,
        GroupsCommand::Delete(args) => delete::run(args, cx).await,
    }
}
