//! `replay`: replays a slice of history.

use clap::Args;
use event_replay::app::replay::ReplaySelection;

use super::replaying::{self, RunArgs};
use crate::{
    args::{FilterArgs, filter},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Replay a slice of history
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replay --type course.enrolled --user-id user-123 --dry-run
  event-replay replay --type user.registered --from 2024-01-01T00:00:00Z --to 2024-01-31T23:59:59Z \\
      --batch-size 25 --delay 500
  event-replay replay --correlation-id workflow-abc-123 --group mail --group billing
  event-replay replay --from 2h --target https://billing.internal/events --rate 200
  event-replay replay --all --target stdout | consumer
  event-replay replay --type 'payment.*' --group billing --plan
  event-replay replay --apply 0198f2

A replay sends exactly the events of its plan, in log order, and stores nothing but their replay
counts. Into groups it waits until each event was handled or is a dead letter, which takes a
consumer of each group (`event-replay consume`); Ctrl-C cancels it, --detach does not wait.
Exits with 3 if any event failed. With --target stdout, stdout has the events alone, one a line;
the result goes to stderr.")]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Replay every event in the store.
    #[arg(long)]
    all: bool,
    /// Send the events of this kept plan and no others; its id, or a unique prefix of it. A plan to another
    /// target than groups and stdout needs its --target again.
    #[arg(long, value_name = "ID", value_parser = filter::name, add = complete::plans(),
          conflicts_with_all = ["FilterArgs", "all", "plan", "hash", "yes", "dry_run", "groups", "limit", "batch_size", "delay", "rate"])]
    apply: Option<String>,
}

pub(crate) async fn run(args: ReplayArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    if let Some(id) = &args.apply {
        return replaying::apply(id, &args.run, cx).await;
    }
    let selection = ReplaySelection::Slice { filter: args.filter.filter()?, all: args.all };
    replaying::run(selection, &args.run, cx).await
}
