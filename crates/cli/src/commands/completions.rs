//! `completions`: for a shell.

use clap::Args;
use clap_complete::Shell;

use crate::{context::Context, errors::CliError, exit::Exit};

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay completions bash > ~/.local/share/bash-completion/completions/event-replay
  event-replay completions zsh > ~/.zfunc/_event-replay
  event-replay completions fish > ~/.config/fish/completions/event-replay.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut (cx.command_line)(), "event-replay", &mut text);
    cx.printer.raw(&text)?;
    Ok(Exit::Ok)
}
