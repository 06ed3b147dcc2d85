//! `--plan`: keeps the plan, so that operators can check, approve and run it later.

use event_replay::{
    Access,
    app::{
        clock,
        plans::{self, KeptPlan, NewPlan, PlanState},
        replay::{self, ReplaySelection, check_groups},
        replay_request::PlannedReplay,
    },
};

use super::{plan, run_args::RunArgs, speed};
use crate::{
    args::target::Target, commands::plans::print_kept, context::Context, errors::CliError, exit::Exit,
};

/// Creates the plan and keeps it in the store.
pub(super) async fn keep(
    selection: ReplaySelection,
    target: &Target,
    args: &RunArgs,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    if let Target::Groups = target {
        check_groups(&stores, &args.groups).await?;
    }
    let manager = match args.checks_schemas() {
        true => replay::manager_with_schemas(&stores, &cx.settings).await?,
        false => replay::manager_with_upcasters(&stores, &cx.settings)?,
    };
    let all = selection.is_all();
    let PlannedReplay { plan, .. } = plan::plan(&stores, &manager, selection, args, cx).await?;
    let options = speed::options(args, target, all, cx);
    let new = NewPlan {
        target: (!matches!(target, Target::Groups)).then(|| target.to_string()),
        groups: args.groups.clone(),
        pace: options.pace,
        batch_size: options.batch_size,
        all,
    };
    let kept = plans::keep(&stores, &cx.actor, &cx.settings, plan, new).await?;
    stores.close().await;
    let exit = print_kept(&kept, cx)?;
    say_next(&kept, cx);
    Ok(exit)
}

fn say_next(kept: &KeptPlan, cx: &Context<'_>) {
    let id = &kept.record.id;
    match PlanState::of(&kept.record, clock().now()) {
        PlanState::AwaitingApproval => cx.printer.say(&format!(
            "another operator must approve it: `event-replay plans approve {id}`; then `event-replay replay --apply {id}` runs it"
        )),
        _ => cx.printer.say(&format!("`event-replay replay --apply {id}` runs it")),
    }
}
