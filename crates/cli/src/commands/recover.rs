//! `recover`: replays the events after a checkpoint.

use clap::Args;
use event_replay::app::replay::ReplaySelection;

use super::replaying::{self, RunArgs};
use crate::{
    args::{BoundArgs, FilterArgs},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Replay the events after a checkpoint
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay recover pre-migration-v2 --dry-run
  event-replay recover pre-migration-v2 --group figures
  event-replay recover pre-migration-v2 --source payment-service --target stdout

The position in the log decides which events come after a checkpoint. So events that happened
earlier and arrived later are part of it.")]
pub(crate) struct RecoverArgs {
    /// The checkpoint's name or id.
    #[arg(value_name = "CHECKPOINT", add = complete::checkpoints())]
    checkpoint: String,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Continue although retention has removed events after the checkpoint.
    #[arg(long)]
    allow_gap: bool,
}

pub(crate) async fn run(args: RecoverArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let selection = ReplaySelection::Recovery {
        checkpoint: args.checkpoint,
        filter: args.filter.filter()?,
        bounds: args.bounds.request(),
        allow_gap: args.allow_gap,
    };
    replaying::run(selection, &args.run, cx).await
}
