//! The whole command line: the flags of every command, and the commands.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::{args::Format, command::Command};

/// Keeps every event, finds any slice of history, and replays it.
#[derive(Debug, Parser)]
#[command(
    name = "event-replay",
    version,
    about = "Keeps every event, finds any slice of history, and replays it.",
    disable_help_subcommand = false,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct GlobalArgs {
    /// Where the events are: sqlite:PATH, redis://HOST or memory: [default: EVENT_REPLAY_STORE, else a file in your data folder].
    #[arg(long, global = true, value_name = "STORE")]
    pub(crate) store: Option<String>,
    /// Settings file [default: event-replay.toml here, else in your configuration folder].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How to print: for people, or for programs.
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
}
