//! `schemas`: manages the schemas that users add to the built-in ones.

mod add;
mod check;
mod list;
mod remove;
pub(super) mod shared;
mod show;

use clap::Subcommand;

use crate::{context::Context, errors::CliError, exit::Exit};

/// Manage event schemas
#[derive(Debug, Subcommand)]
pub(crate) enum SchemasCommand {
    /// Show all schemas
    List(list::ListArgs),
    /// Show one schema's file
    Show(show::ShowArgs),
    /// Add a schema, or replace the one of its type and version
    Add(add::AddArgs),
    /// Remove a schema that was added
    Remove(remove::RemoveArgs),
    /// Check stored events against a schema file, and add nothing
    Check(check::CheckArgs),
}

pub(crate) async fn run(command: SchemasCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        SchemasCommand::List(args) => list::run(args, cx).await,
        SchemasCommand::Show(args) => show::run(args, cx).await,
        SchemasCommand::Add(args) => add::run(args, cx).await,
        SchemasCommand::Remove(args) => remove::run(args, cx).await,
        SchemasCommand::Check(args) => check::run(args, cx).await,
    }
}
