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
    let text = match args.shell {
        Shell::Zsh => answering_at_once(&String::from_utf8_lossy(&text)),
        _ => String::from_utf8_lossy(&text).into_owned(),
    };
    cx.printer.raw(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// Lets a script in a folder of `fpath` complete the word for which zsh loads it. Without this, zsh completes from the second
/// request on. A script that is sourced only registers its function.
fn answering_at_once(script: &str) -> String {
    let Some((function, registration)) = script.trim_end().rsplit_once("\ncompdef ") else {
        return script.to_owned();
    };
    let name = registration.split(' ').next().unwrap_or_default();
    format!(
        "{function}\ncompdef {registration}\n\nif [[ $funcstack[1] == _event-replay ]]; then\n    {name} \"$@\"\nfi\n"
    )
}
