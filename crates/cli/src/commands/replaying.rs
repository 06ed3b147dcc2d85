//! What the replaying commands share: the flags of a run, the plan, the run, the report.

mod plan;
mod report;
mod speed;
mod to_groups;
mod to_target;

use std::{sync::Arc, time::Duration};

use clap::Args;
use domain::{Filter, ports::EventValidator};
use replay::ReplayManager;

pub(super) use self::plan::print_counts;
use super::{Context, counting, schemas, signals::Interrupts};
use crate::{
    args::{group, number, target::Target},
    errors::CliError,
    exit::Exit,
    store::{self, Access, Stores},
};

/// Flags of a run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "How it runs")]
pub(crate) struct RunArgs {
    /// Where the events go: groups, stdout, exec:COMMAND, or an http:// or https:// URL.
    #[arg(long, value_name = "TARGET", default_value = "groups")]
    pub(crate) target: String,
    /// Only to this consumer group [default: to all that there are].
    #[arg(long = "group", value_name = "NAME", value_parser = group::name)]
    pub(crate) groups: Vec<String>,
    /// With groups: print the replay's id and do not wait; whoever consumes runs it.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) detach: bool,
    /// Count what would be replayed, and replay nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// At most this many events, the oldest of those that match.
    #[arg(long, value_name = "N", value_parser = number::limit, allow_hyphen_values = true)]
    pub(crate) limit: Option<u64>,
    /// Events handed over, and counted, together [default: 50; 1000 to stdout where no pace is given].
    #[arg(long, value_name = "N", value_parser = number::batch_size, allow_hyphen_values = true)]
    pub(crate) batch_size: Option<usize>,
    /// Pause between batches, in milliseconds or with a unit: 500, 2s, 0 for none [default: 1000; none to stdout].
    #[arg(long, value_name = "TIME", value_parser = number::delay, allow_hyphen_values = true)]
    pub(crate) delay: Option<Duration>,
    /// At most this many events a second.
    #[arg(long, value_name = "EVENTS", value_parser = number::rate, allow_hyphen_values = true, conflicts_with = "delay")]
    pub(crate) rate: Option<f64>,
    /// How often it is tried again while the target (with groups: the store) cannot be reached; how often an event is tried
    /// again is for its consumer to say [default: 3, the setting retries.max].
    #[arg(long, value_name = "N", value_parser = number::retries, allow_hyphen_values = true)]
    pub(crate) max_retries: Option<u32>,
    /// With --dry-run: do not count what today's schemas would refuse, which takes most of its time.
    #[arg(long, requires = "dry_run")]
    pub(crate) no_schema_check: bool,
}

impl RunArgs {
    /// A plan that is shown says what today's schemas make of it; one that is run has no use for it.
    fn checks_schemas(&self) -> bool {
        self.dry_run && !self.no_schema_check
    }

    /// Where the events go.
    fn target(&self) -> Result<Target, CliError> {
        let target = Target::parse(&self.target)?;
        if matches!(target, Target::Groups) {
            return Ok(target);
        }
        for (given, flag) in [(!self.groups.is_empty(), "--group"), (self.detach, "--detach")] {
            if given {
                return Err(CliError::usage(format!(
                    "{flag} is for replays into groups: leave out --target"
                )));
            }
        }
        Ok(target)
    }
}

/// What is replayed.
pub(crate) enum What {
    /// A slice of history.
    Slice {
        /// Which events.
        filter: Filter,
        /// Whether everything is meant.
        all: bool,
    },
    /// What came after a checkpoint.
    Recovery {
        /// Its name or id.
        checkpoint: String,
        /// Which events of it.
        filter: Filter,
        /// Whether events that retention has removed may be missing.
        allow_gap: bool,
    },
}

impl What {
    fn filter(&self) -> &Filter {
        match self {
            Self::Slice { filter, .. } | Self::Recovery { filter, .. } => filter,
        }
    }

    fn is_all(&self) -> bool {
        match self {
            Self::Slice { all, .. } => *all,
            Self::Recovery { .. } => true,
        }
    }
}

/// Plans, and runs the plan unless only the plan is wanted.
pub(crate) async fn run(what: What, args: &RunArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    if !what.is_all() && what.filter().is_everything() {
        return Err(CliError::usage("this would replay every event in the store")
            .hint("say which events (--type, --user-id, --from …), or add --all"));
    }
    let target = args.target()?;
    match args.dry_run {
        true => dry_run(what, args, cx).await,
        false => really(what, &target, args, cx).await,
    }
}

async fn dry_run(what: What, args: &RunArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = Stores::open(&cx.settings, Access::Read).await?;
    let validator: Option<Arc<dyn EventValidator>> = match args.checks_schemas() {
        true => Some(Arc::new(schemas::registry(&stores, cx.settings.engine).await?)),
        false => None,
    };
    let manager = over(&stores, validator);
    let plan = plan::plan(&manager, what, args, cx).await?;
    drop(manager);
    stores.close().await;
    plan::print_plan(&plan, cx)
}

async fn really(what: What, target: &Target, args: &RunArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = Stores::open(&cx.settings, Access::Write).await?;
    if let Target::Groups = target {
        // Told at once, not after the scan of a whole log.
        to_groups::check(&stores, &args.groups).await?;
    }
    let meter = counting::meter();
    let manager = over(&stores, None).with_meter(meter.clone());
    let all = what.is_all();
    let plan = plan::plan(&manager, what, args, cx).await?;
    // From here on a wish to end is heeded.
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

/// The planner and runner over a store.
pub(super) fn over(stores: &Stores, validator: Option<Arc<dyn EventValidator>>) -> ReplayManager {
    let (events, replays) = (stores.events.clone(), stores.replays.clone());
    ReplayManager::new(events, replays, stores.checkpoints.clone(), validator, store::clock())
        .with_groups(stores.groups.clone())
        .with_conditions(Arc::new(|text: &str| conditions::compile(text).map_err(|error| error.to_string())))
}
