//! `replays retry`: replays only the events that failed in an earlier replay.

use clap::Args;
use event_replay::{
    Access,
    app::{bounds::BoundsRequest, replay::ReplaySelection, replays},
};

use crate::{
    args::filter,
    commands::replaying::{self, RunArgs},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, plural::count},
};

/// Replay the events that failed in a replay, and no others
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays retry 0198f2
  event-replay replays retry 0198f2 --detach
  event-replay replays retry 0198f2 --target https://billing.internal/events

It goes where the replay went. A replay to a command or a URL needs its --target again. Dead letters
of the events stay; `dead-letters redrive` closes them.")]
pub(crate) struct RetryArgs {
    /// The replay, which has ended: its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::replays())]
    replay: String,
    #[command(flatten)]
    run: RunArgs,
}

pub(super) async fn run(args: RetryArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let failed = replays::failed(&stores, &args.replay).await?;
    stores.close().await;
    let mut run = args.run;
    match (&run.target, failed.target.as_str()) {
        (Some(_), _) => {}
        (None, "groups") if run.groups.is_empty() => run.groups = failed.groups,
        (None, "groups") => {}
        (None, "stdout") => run.target = Some("stdout".to_owned()),
        (None, target) => {
            let target = escape::line(target);
            return Err(CliError::usage(format!(
                "the replay went to {target}, whose arguments are not kept"
            ))
            .hint("add the --target of the replay"));
        }
    }
    cx.printer.say(&format!("{} failed in replay {}", count(failed.events, "event"), failed.id));
    let selection =
        ReplaySelection::Slice { filter: failed.filter, bounds: BoundsRequest::default(), all: false };
    replaying::run(selection, &run, cx).await
}
