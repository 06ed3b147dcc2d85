//! `dead-letters`: the deliveries that groups gave up on, and what people do with them.

mod discard;
mod list;
mod printed;
mod redrive;
mod select;
mod show;

use clap::Subcommand;

use crate::{context::Context, errors::CliError, exit::Exit};

/// Look after dead letters: deliveries that a group gave up on
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Show dead letters, the oldest first
    List(list::ListArgs),
    /// Show single dead letters in full, with their event and their history
    Show(show::ShowArgs),
    /// Send dead letters to their group again, and wait
    Redrive(redrive::RedriveArgs),
    /// Close dead letters unhandled, with a reason
    Discard(discard::DiscardArgs),
}

pub(crate) async fn run(command: DeadLettersCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        DeadLettersCommand::List(args) => list::run(args, cx).await,
        DeadLettersCommand::Show(args) => show::run(args, cx).await,
        DeadLettersCommand::Redrive(args) => redrive::run(args, cx).await,
        DeadLettersCommand::Discard(args) => discard::run(args, cx).await,
    }
}
