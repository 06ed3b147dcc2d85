//! `replay`: a slice of history.

use clap::Args;

use super::{
    Context,
    replaying::{self, RunArgs, What},
};
use crate::{args::FilterArgs, errors::CliError, exit::Exit};

/// Replay a slice of history
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replay --type course.enrolled --user-id user-123 --dry-run
  event-replay replay --type user.registered --from 2024-01-01T00:00:00Z --to 2024-01-31T23:59:59Z \\
      --batch-size 25 --delay 500 --target stdout
  event-replay replay --correlation-id workflow-abc-123 --max-retries 5 --target stdout
  event-replay replay --all --rate 200 --target stdout | consumer

A replay sends exactly the events of its plan, in log order, and stores nothing but their replay counts.
stdout has the events alone, one a line; the result goes to stderr.")]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Replay every event in the store.
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(args: ReplayArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let what = What::Slice { filter: args.filter.filter()?, all: args.all };
    replaying::run(what, &args.run, cx).await
}
