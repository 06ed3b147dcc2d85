//! The common part of `state` and `diff`: the entity, the types, and the fold.

use clap::Args;
use domain::Entity;
use event_replay::{
    app::{
        AppError,
        state::{FoldMethod, StateRequest},
        upcasting::upcasters,
    },
    secret_variables,
};
use targets::ExecCommand;

use super::signals::Interrupts;
use crate::{args::filter, complete, context::Context, errors::CliError, exit::Exit, output::plural::count};

/// The flags of a fold.
#[derive(Debug, Clone, Args)]
pub(super) struct FoldArgs {
    /// The entity: user=user-123 is every event with userId `user-123`.
    #[arg(value_name = "KIND=ID", value_parser = filter::entity, add = complete::entities())]
    entity: Entity,
    /// Only events of this type; `*` stands for any characters.
    #[arg(long = "type", value_name = "TYPE", value_parser = filter::name, add = complete::types())]
    types: Vec<String>,
    /// Fold with this command: it gets the events on its stdin, one a line, and prints the state as JSON
    /// [default: merge the `data` of the events].
    #[arg(long, value_name = "COMMAND")]
    fold: Option<String>,
}

impl FoldArgs {
    /// Returns the request that the flags describe.
    pub(super) fn request(&self, cx: &Context<'_>) -> Result<StateRequest, CliError> {
        let method = match &self.fold {
            None => FoldMethod::Merge,
            Some(text) => FoldMethod::Command(command(text)?),
        };
        let upcaster = upcasters(&cx.settings)?;
        Ok(StateRequest { entity: self.entity.clone(), types: self.types.clone(), method, upcaster })
    }
}

/// Parses a command. The command does not get the environment variables that hold passwords of the store.
fn command(text: &str) -> Result<ExecCommand, CliError> {
    let command = ExecCommand::parse(text).map_err(|error| {
        CliError::usage(format!("--fold: {error}")).hint("write it as for a shell: --fold './fold --fast'")
    })?;
    Ok(command.without_variables(secret_variables()))
}

/// Waits for a fold. Ctrl-C ends it at once, with its command.
pub(super) async fn interruptible<T>(work: impl Future<Output = Result<T, AppError>>) -> Result<T, CliError> {
    let mut interrupts = Interrupts::listen()?;
    tokio::select! {
        done = work => Ok(done?),
        () = interrupts.next() => Err(CliError::failed("the fold was interrupted; nothing was changed")),
    }
}

/// Warns about events that a state lacks, and returns the exit code.
pub(super) fn warn_of_missing(corrupt: u64, incomplete: bool, cx: &Context<'_>) -> Exit {
    if incomplete {
        cx.printer.warn("retention has removed events of this log; the state may lack some");
    }
    if corrupt == 0 {
        return Exit::Ok;
    }
    cx.printer.warn(&format!(
        "{} could not be read and is left out; `event-replay verify` finds all damage",
        count(corrupt, "event")
    ));
    Exit::DoneWithFailures
}
