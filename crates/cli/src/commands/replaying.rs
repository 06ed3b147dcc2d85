//! The common part of the replay commands: the flags of a run, the plan, the run and the report.

mod applying;
mod counts;
mod keeping;
mod plan;
mod report;
mod run_args;
mod speed;
mod to_groups;
mod to_target;
mod watching;

use std::io::{self, IsTerminal};

pub(super) use self::{
    applying::apply,
    counts::print_counts,
    plan::{exit_of_plan, print_counted},
    run_args::RunArgs,
};
use ::replay::{Plan, ReplayManager};
use event_replay::{
    Access, StoreHandle,
    app::{
        AppError, NotFound, approval,
        counting::{self, Meter},
        plans::{Permitted, permit},
        replay::{self, ReplaySelection},
        replay_request::PlannedReplay,
    },
};

use super::signals::Interrupts;
use crate::{
    args::target::{TELLS_PASSWORD, Target},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        confirm::ask,
        escape,
        plural::{count, size},
    },
};

/// Plans a replay. Runs the plan unless the flags ask for the plan only.
pub(crate) async fn run(
    selection: ReplaySelection,
    args: &RunArgs,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    selection.check()?;
    let target = args.target()?;
    if args.target.as_deref().is_some_and(Target::tells_password) {
        cx.printer.warn(TELLS_PASSWORD);
    }
    match (args.dry_run, args.plan) {
        (true, _) => dry_run(selection, &target, args, cx).await,
        (false, true) => keeping::keep(selection, &target, args, cx).await,
        (false, false) => execute(selection, &target, args, cx).await,
    }
}

async fn dry_run(
    selection: ReplaySelection,
    target: &Target,
    args: &RunArgs,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let manager = match args.checks_schemas() {
        true => replay::manager_with_schemas(&stores, &cx.settings).await?,
        false => replay::manager_with_upcasters(&stores, &cx.settings)?,
    };
    let all = selection.is_all();
    let planned = plan::plan(&stores, &manager, selection, args, cx).await?;
    drop(manager);
    stores.close().await;
    let exit = plan::print_plan(&planned, cx)?;
    speed::warn_of_default_pace(&planned.plan, &speed::options(args, target, all, cx), args, cx);
    Ok(exit)
}

/// Prints a dry run for a store without consumer groups, because no group could handle the events.
async fn show_alone(
    selection: ReplaySelection,
    args: &RunArgs,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let exit = dry_run(selection, &Target::Groups, &RunArgs { dry_run: true, ..args.clone() }, cx).await?;
    cx.printer.warn(
        "nothing was replayed: the store has no consumer group yet, so nothing consumes events \
         (`event-replay consume NAME` makes a group and runs a consumer; --target stdout needs none)",
    );
    Ok(exit)
}

async fn execute(
    selection: ReplaySelection,
    target: &Target,
    args: &RunArgs,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    if let Target::Groups = target {
        // The groups are checked first, so that an error does not wait for the scan of a whole log.
        match replay::check_groups(&stores, &args.groups).await {
            Err(AppError::NotFound(NotFound::AnyGroup)) if args.leaves_target_open() => {
                stores.close().await;
                return show_alone(selection, args, cx).await;
            }
            checked => checked?,
        }
    }
    let meter = counting::meter();
    let manager = replay::manager_with_upcasters(&stores, &cx.settings)?.with_meter(meter.clone());
    let all = selection.is_all();
    let PlannedReplay { plan, .. } = plan::plan(&stores, &manager, selection, args, cx).await?;
    let shown = (!matches!(target, Target::Groups)).then(|| target.to_string());
    let permitted = permit(&stores, &cx.settings, &plan, shown.as_deref(), &args.groups).await?;
    confirm(&plan, target, args, cx)?;
    send(Begun { stores, manager, meter, plan: &plan, permitted: &permitted, all }, target, args, cx).await
}

/// Asks for confirmation if the plan has more events than the setting allows. `--yes`, or the hash of the plan,
/// replaces the question.
fn confirm(plan: &Plan, target: &Target, args: &RunArgs, cx: &Context<'_>) -> Result<(), CliError> {
    if let Some(hash) = &args.hash {
        return Ok(approval::check(hash, &plan.plan_hash)?);
    }
    if args.yes || plan.total_events <= cx.settings.plans.confirm_above {
        return Ok(());
    }
    let to = match (target, args.groups.as_slice()) {
        (Target::Groups, []) => "every group".to_owned(),
        (Target::Groups, groups) => {
            groups.iter().map(|name| escape::short(name, 60)).collect::<Vec<_>>().join(", ")
        }
        (target, _) => target.to_string(),
    };
    let deed = format!(
        "send {} ({}) of {} to {to}",
        count(plan.total_events, "event"),
        size(plan.total_bytes),
        count(plan.by_type.len() as u64, "type")
    );
    if !io::stdin().is_terminal() {
        let hash = &plan.plan_hash;
        return Err(CliError::usage(format!(
            "this would {deed}; stdin is not a terminal, so nothing was sent"
        ))
        .hint(format!("add --yes, or --hash {hash}, which sends exactly this plan; the setting plans.confirm_above is the bound")));
    }
    ask(&format!("This would {deed}."))
}

/// A plan that is permitted to run, and everything that its run needs.
struct Begun<'a> {
    stores: StoreHandle,
    manager: ReplayManager,
    meter: Meter,
    plan: &'a Plan,
    permitted: &'a Permitted,
    all: bool,
}

/// Sends the events of a plan, and reports the result.
async fn send(
    begun: Begun<'_>,
    target: &Target,
    args: &RunArgs,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let Begun { stores, manager, meter, plan, permitted, all } = begun;
    speed::warn_of_default_pace(plan, &speed::options(args, target, all, cx), args, cx);
    // From here on the command handles interruptions.
    let mut interrupts = Interrupts::listen()?;
    let run = to_target::Run { manager: &manager, plan, permitted, all, args };
    let exit = match target {
        Target::Groups => to_groups::execute(&stores, run, &mut interrupts, cx).await,
        target => to_target::execute(&stores, run, target, &mut interrupts, cx).await,
    };
    drop(manager);
    counting::keep(&meter, &stores).await;
    stores.close().await;
    exit
}
