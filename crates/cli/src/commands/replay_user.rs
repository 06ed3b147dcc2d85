//! `replay-user`: replays every event that names a user.

use clap::Args;
use domain::Entity;
use event_replay::app::replay::ReplaySelection;

use super::replaying::{self, RunArgs};
use crate::{
    args::{BoundArgs, FilterArgs, filter},
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Replay everything that names a user
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replay-user user-123 --dry-run
  event-replay replay-user user-123 --from 2024-01-01T00:00:00Z --to 2024-01-31T23:59:59Z
  event-replay replay-user user-123 --group figures --delay 0
  event-replay replay-user user-123 --target stdout")]
pub(crate) struct ReplayUserArgs {
    /// The user: events with this `userId`.
    #[arg(value_name = "USER-ID", value_parser = filter::name)]
    user: String,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    run: RunArgs,
}

pub(crate) async fn run(args: ReplayUserArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let mut filter = args.filter.filter()?;
    if filter.entities.contains_key("user") {
        // Two values of one flag would widen the replay. A reader expects it to narrow the replay.
        return Err(CliError::usage("replay-user names its user already: leave out --user-id")
            .hint("`replay` takes several --user-id"));
    }
    filter.add_entity(Entity::new("user", args.user));
    let bounds = args.bounds.request();
    replaying::run(ReplaySelection::Slice { filter, bounds, all: false }, &args.run, cx).await
}
