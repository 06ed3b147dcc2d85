//! `replay`: replays a slice of history.

use clap::{Args, ValueEnum};
use event_replay::app::{
    missed::{MissedCause, MissedRequest},
    replay::ReplaySelection,
};

use super::replaying::{self, RunArgs};
use crate::{
    args::{BoundArgs, FilterArgs, filter, group},
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
  event-replay replay --after-event evt-06 --until-event evt-10 --group billing
  event-replay replay --missed billing --cause types --dry-run

A replay sends exactly the events of its plan, in log order, and stores nothing but their replay
counts. Into groups it waits until each event was handled or is a dead letter, which takes a
consumer of each group (`event-replay consume`); Ctrl-C cancels it, --detach does not wait.
Exits with 3 if any event failed. With --target stdout, stdout has the events alone, one a line;
the result goes to stderr.")]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    #[command(flatten)]
    run: RunArgs,
    /// Replay every event in the store.
    #[arg(long)]
    all: bool,
    /// Send the events of this kept plan and no others; its id, or a unique prefix of it. A plan to another
    /// target than groups and stdout needs its --target again.
    #[arg(long, value_name = "ID", value_parser = filter::name, add = complete::plans(),
          conflicts_with_all = ["FilterArgs", "BoundArgs", "all", "missed", "plan", "hash", "yes", "dry_run", "groups", "limit", "batch_size", "delay", "rate"])]
    apply: Option<String>,
    /// Send to this group what it missed although it takes its types: see --cause. Filters narrow it.
    #[arg(long, value_name = "GROUP", value_parser = group::name, add = complete::groups(), conflicts_with_all = ["all", "groups"])]
    missed: Option<String>,
    /// Why the group missed the events [default: the only cause for which it missed any].
    // The parser does not ask for --missed where a flag is set that excludes it.
    #[arg(long, value_enum, requires = "missed", conflicts_with_all = ["all", "groups", "apply"])]
    cause: Option<CauseArg>,
}

/// The cause for which a group missed events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CauseArg {
    /// They are before the place where the group began.
    Start,
    /// A reset moved the group over them.
    Reset,
    /// The group passed them before it took their types.
    Types,
}

impl From<CauseArg> for MissedCause {
    fn from(cause: CauseArg) -> Self {
        match cause {
            CauseArg::Start => Self::Start,
            CauseArg::Reset => Self::Reset,
            CauseArg::Types => Self::Types,
        }
    }
}

pub(crate) async fn run(args: ReplayArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    if let Some(id) = &args.apply {
        return replaying::apply(id, &args.run, cx).await;
    }
    let (filter, bounds) = (args.filter.filter()?, args.bounds.request());
    let Some(group) = args.missed else {
        let selection = ReplaySelection::Slice { filter, bounds, all: args.all };
        return replaying::run(selection, &args.run, cx).await;
    };
    let mut run = args.run;
    if run.target.as_deref().is_none_or(|target| target == "groups") {
        run.groups = vec![group.clone()];
    }
    let cause = args.cause.map(MissedCause::from);
    let selection = ReplaySelection::Missed(MissedRequest { group, cause, filter, bounds });
    replaying::run(selection, &run, cx).await
}
