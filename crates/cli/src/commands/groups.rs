//! `groups`: the consumer groups of a store, how they are doing, and where they stand.

mod create;
mod delete;
mod list;
mod reset;
mod show;
mod standing;

use clap::Subcommand;

pub(super) use self::standing::{HoldState, Standing, standing};
use super::Context;
use crate::{errors::CliError, exit::Exit, output::escape, store::Stores};

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

/// A group that must be there.
async fn find(stores: &Stores, name: &str, cx: &Context<'_>) -> Result<Standing, CliError> {
    match stores.groups.group(name).await? {
        Some(status) => standing(stores, &cx.settings.holds, status).await,
        None => Err(no_group(stores, name).await?),
    }
}

/// Says which groups there are.
async fn no_group(stores: &Stores, name: &str) -> Result<CliError, CliError> {
    let groups = stores.groups.groups().await?;
    let known: Vec<String> = groups.iter().take(10).map(|group| group.spec.name.clone()).collect();
    let hint = match known.is_empty() {
        true => "there are no groups yet; `event-replay groups create NAME` makes one".to_owned(),
        false => format!("there are: {}", escape::line(&known.join(", "))),
    };
    Ok(CliError::failed(format!("there is no group {:?}", escape::line(name))).hint(hint))
}
