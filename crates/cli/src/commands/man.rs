//! `man`: manual pages.

use std::path::PathBuf;

use clap::Args;

use crate::{context::Context, errors::CliError, exit::Exit};

/// Write man pages into a folder
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay man ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The folder; it is made if absent.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(crate) fn run(args: &ManArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let name = args.folder.display().to_string();
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to((cx.command_line)(), &args.folder))
        .map_err(|error| CliError::failed(format!("{name}: the man pages cannot be written: {error}")))?;
    cx.printer.say(&format!("wrote man pages to {name}; `man -l {name}/event-replay.1` shows the first"));
    Ok(Exit::Ok)
}
