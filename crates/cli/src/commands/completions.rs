//! `completions`: prints the completion script of a shell.

use clap::Args;
use clap_complete::{Shell, env::Shells};

use crate::{context::Context, errors::CliError, exit::Exit};

/// The environment variable that makes the program answer a completion request. The script of the shell sets it.
pub(crate) const VARIABLE: &str = "EVENT_REPLAY_COMPLETE";

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  source <(event-replay completions bash)
  event-replay completions bash > ~/.local/share/bash-completion/completions/event-replay
  event-replay completions zsh > ~/.zfunc/_event-replay
  event-replay completions fish > ~/.config/fish/completions/event-replay.fish

The script asks the program itself. It offers commands and flags, and names from the store:
groups, checkpoints, types, sources, and the ids of replays and dead letters. Write the file again
after an upgrade.")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let shells = Shells::builtins();
    let name = args.shell.to_string();
    let mut text = Vec::new();
    let written = shells
        .completer(&name)
        .ok_or_else(|| CliError::failed(format!("there are no completions for {name}")))?
        .write_registration(VARIABLE, "event-replay", "event-replay", "event-replay", &mut text);
    written.map_err(|error| CliError::failed(format!("the completions cannot be written: {error}")))?;
    cx.printer.raw(&text)?;
    Ok(Exit::Ok)
}
