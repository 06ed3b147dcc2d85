//! `replay-correlation`: replays a whole workflow.

use clap::Args;
use event_replay::app::replay::ReplaySelection;

use super::replaying::{self, RunArgs};
use crate::{
    args::{BoundArgs, FilterArgs, filter},
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Replay a whole workflow
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replay-correlation correlation-123 --dry-run
  event-replay replay-correlation workflow-payment-123
  event-replay replay-correlation workflow-payment-123 --target stdout")]
pub(crate) struct ReplayCorrelationArgs {
    /// The workflow's correlation id.
    #[arg(value_name = "CORRELATION-ID", value_parser = filter::name)]
    correlation: String,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    run: RunArgs,
}

pub(crate) async fn run(args: ReplayCorrelationArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let mut filter = args.filter.filter()?;
    if !filter.correlation_ids.is_empty() {
        // Two values of one flag would widen the replay. A reader expects it to narrow the replay.
        return Err(CliError::usage(
            "replay-correlation names its workflow already: leave out --correlation-id",
        )
        .hint("`replay` takes several --correlation-id"));
    }
    filter.correlation_ids.insert(args.correlation);
    let bounds = args.bounds.request();
    replaying::run(ReplaySelection::Slice { filter, bounds, all: false }, &args.run, cx).await
}
