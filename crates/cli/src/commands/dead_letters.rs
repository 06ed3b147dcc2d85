//! `dead-letters`: lists and changes the deliveries that groups gave up on.

mod discard;
mod edit;
mod list;
mod printed;
mod redrive;
mod restore;
mod select;
mod show;

use clap::Subcommand;

use crate::{context::Context, errors::CliError, exit::Exit};

/// Manage dead letters: deliveries that failed permanently
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// Show dead letters, the oldest first
    List(list::ListArgs),
    /// Show single dead letters in full, with their event and their history
    Show(show::ShowArgs),
    /// Redrive dead letters: send them to their group again, and wait
    Redrive(redrive::RedriveArgs),
    /// Edit the event that a redrive sends
    Edit(edit::EditArgs),
    /// Close dead letters unhandled, with a reason
    Discard(discard::DiscardArgs),
    /// Restore discarded dead letters: they are open again
    Restore(restore::RestoreArgs),
}

pub(crate) async fn run(command: DeadLettersCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        DeadLettersCommand::List(args) => list::run(args, cx).await,
        DeadLettersCommand::Show(args) => show::run(args, cx).await,
        DeadLettersCommand::Redrive(args) => redrive::run(args, cx).await,
        DeadLettersCommand::Edit(args) => edit::run(args, cx).await,
        DeadLettersCommand::Restore(args) => restore::run(args, cx).await,
        DeadLettersCommand::Discard(args) => discard::run(args, cx).await,
    }
}
