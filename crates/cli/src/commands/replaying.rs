//! What the replaying commands share: the flags of a run, the plan, the run, the report.

mod counts;
mod plan;
mod report;
mod run_args;
mod speed;
mod to_groups;
mod to_target;
mod watching;

pub(super) use self::{counts::print_counts, run_args::RunArgs};
use event_replay::{
    Access,
    app::{
        AppError, NotFound, counting,
        replay::{self, ReplaySelection},
    },
};

use super::signals::Interrupts;
use crate::{
    args::target::{TELLS_PASSWORD, Target},
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Plans, and runs the plan unless only the plan is wanted.
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
    match args.dry_run {
        true => dry_run(selection, &target, args, cx).await,
        false => execute(selection, &target, args, cx).await,
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
        false => replay::manager(&stores),
    };
    let all = selection.is_all();
    let plan = plan::plan(&manager, selection, args, cx).await?;
    drop(manager);
    stores.close().await;
    let exit = plan::print_plan(&plan, cx)?;
    speed::warn_of_default_pace(&plan, &speed::options(args, target, all, cx), args, cx);
    Ok(exit)
}

/// Nothing consumes events yet: what would be replayed is shown, as by a dry run.
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
        // Told at once, not after the scan of a whole log.
        match replay::check_groups(&stores, &args.groups).await {
            Err(AppError::NotFound(NotFound::AnyGroup)) if args.leaves_target_open() => {
                stores.close().await;
                return show_alone(selection, args, cx).await;
            }
            checked => checked?,
        }
    }
    let meter = counting::meter();
    let manager = replay::manager(&stores).with_meter(meter.clone());
    let all = selection.is_all();
    let plan = plan::plan(&manager, selection, args, cx).await?;
    speed::warn_of_default_pace(&plan, &speed::options(args, target, all, cx), args, cx);
    // From here on a request to end is heeded.
    let mut interrupts = Interrupts::listen()?;
    let exit = match target {
        Target::Groups => to_groups::execute(&manager, &plan, all, args, &mut interrupts, cx).await,
        target => to_target::execute(&manager, &plan, all, target, args, &mut interrupts, cx).await,
    };
    drop(manager);
    counting::keep(&meter, &stores).await;
    stores.close().await;
    exit
}
