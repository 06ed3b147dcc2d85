//! `--apply`: runs a kept plan, and sends exactly its events.

use std::time::Duration;

use ::replay::{Pace, PlanLosses};
use domain::Position;
use event_replay::{
    Access,
    app::{
        counting,
        plans::{self, AppliedPlan},
        replay,
    },
};

use super::{Begun, run_args::RunArgs, send};
use crate::{
    args::target::{TELLS_PASSWORD, Target},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::plural::{self, count},
};

/// Positions that a warning names at most.
const NAMED: usize = 10;

/// Runs a kept plan.
pub(in crate::commands) async fn apply(
    id: &str,
    args: &RunArgs,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    if args.target.as_deref().is_some_and(Target::tells_password) {
        cx.printer.warn(TELLS_PASSWORD);
    }
    let stores = cx.open(Access::Write).await?;
    let meter = counting::meter();
    // A broken upcaster is refused before the run of the plan is recorded.
    let manager = replay::manager_with_upcasters(&stores, &cx.settings)?.with_meter(meter.clone());
    let planned = plans::find(&stores, id).await?;
    let target = match (&args.target, planned.run.target.as_str()) {
        (None, "stdout") => Target::Stdout,
        _ => args.target()?,
    };
    let shown = (!matches!(target, Target::Groups)).then(|| target.to_string());
    let bar = cx.printer.bar("comparing", Some(0));
    let progress = Some(bar.callback());
    let applied = plans::apply(&stores, &cx.actor, &cx.settings, id, shown.as_deref(), progress).await;
    bar.clear();
    let AppliedPlan { kept, losses, permitted } = applied?;
    warn_of_losses(&losses, cx);
    let args = RunArgs {
        groups: kept.run.groups.iter().map(|group| group.name.clone()).collect(),
        limit: kept.plan.limit,
        batch_size: Some(kept.run.batch_size),
        delay: match kept.run.pace {
            Pace::Unpaced => Some(Duration::ZERO),
            Pace::Delay(delay) => Some(delay),
            Pace::Rate(_) => None,
        },
        rate: match kept.run.pace {
            Pace::Rate(rate) => Some(rate),
            Pace::Unpaced | Pace::Delay(_) => None,
        },
        ..args.clone()
    };
    let begun = Begun { stores, manager, meter, plan: &kept.plan, permitted: &permitted, all: kept.run.all };
    send(begun, &target, &args, cx).await
}

fn warn_of_losses(losses: &PlanLosses, cx: &Context<'_>) {
    if losses.is_none() {
        return;
    }
    let were = plural::of(losses.missing, "event was", "events were");
    let positions: Vec<String> = losses.positions.iter().take(NAMED).map(Position::to_string).collect();
    let more = losses.missing.saturating_sub(positions.len() as u64);
    let named = match (positions.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", positions.join(", ")),
        (false, more) => format!(": {} and {}", positions.join(", "), plural::of(more, "other", "others")),
    };
    cx.printer.warn(&format!("{were} erased or trimmed since the plan was made{named}"));
    for gap in &losses.gaps {
        tracing::info!(piece = gap.segment, through = %gap.through, missing = %count(gap.missing, "event"), "a piece of the plan lost events");
    }
}
