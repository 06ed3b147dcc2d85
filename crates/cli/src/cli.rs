//! The whole command line: the global flags and the commands.

use std::path::PathBuf;

use clap::{Args, Parser};

use crate::{args::Format, command::Command, complete, output::style::ColorChoice};

/// Keeps every event, finds any slice of history, and replays it.
#[derive(Debug, Parser)]
#[command(
    name = "event-replay",
    version,
    about = "Keeps every event, finds any slice of history, and replays it.",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// The command.
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
    /// Use the store of this context (see `event-replay context`).
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "store", add = complete::contexts())]
    pub(crate) context: Option<String>,
    /// Settings file [default: event-replay.toml here, else in your configuration folder].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The operator's name, for the audit: it is recorded, not proven [default: EVENT_REPLAY_OPERATOR, else user@host].
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub(crate) operator: Option<String>,
    /// Why this is done, for the audit.
    #[arg(long, global = true, value_name = "TEXT", hide_short_help = true)]
    pub(crate) reason: Option<String>,
    /// How to print.
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Log what the program does to stderr; twice for more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How results are printed.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct OutputArgs {
    /// How to print: for people, or for programs.
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
    /// Print only these members of each row, such as id,group or event.id.
    #[arg(long, global = true, value_name = "NAMES", value_delimiter = ',', conflicts_with = "jq")]
    pub(crate) fields: Vec<String>,
    /// Print what this jq expression makes of the JSON output.
    #[arg(long, global = true, value_name = "EXPRESSION")]
    pub(crate) jq: Option<String>,
    /// On a terminal: show whole tables and absolute times, however wide.
    #[arg(long, global = true)]
    pub(crate) wide: bool,
    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub(crate) color: ColorChoice,
    /// Do not use a pager for long output.
    #[arg(long, global = true)]
    pub(crate) no_pager: bool,
    /// Print results, warnings and errors alone.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}
