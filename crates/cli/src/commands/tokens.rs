//! `tokens`: manages the tokens that authenticate clients of the HTTP API.

mod create;
mod list;
mod revoke;

use clap::Subcommand;
use domain::token::Role;
use event_replay::app::tokens::TokenDocument;

use crate::{context::Context, errors::CliError, exit::Exit};

/// Manage tokens of the HTTP API
#[derive(Debug, Subcommand)]
pub(crate) enum TokensCommand {
    /// Create a token, and print it once
    Create(create::CreateArgs),
    /// Show all tokens, without their secrets
    List(list::ListArgs),
    /// Revoke a token
    Revoke(revoke::RevokeArgs),
}

pub(crate) async fn run(command: TokensCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        TokensCommand::Create(args) => create::run(args, cx).await,
        TokensCommand::List(args) => list::run(args, cx).await,
        TokensCommand::Revoke(args) => revoke::run(args, cx).await,
    }
}

/// Formats the roles of a token.
fn roles(token: &TokenDocument) -> String {
    token.roles.iter().map(|role: &Role| role.as_str()).collect::<Vec<_>>().join(", ")
}
