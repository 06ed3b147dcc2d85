//! The flags of a run.

use std::time::Duration;

use clap::Args;
use event_replay::{app::replay::PaceRequest, text::number::Ramp};
use replay::FailureLimit;

use crate::{
    args::{group, number, target::Target},
    complete,
    errors::CliError,
};

/// Flags of a run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "How it runs")]
pub(crate) struct RunArgs {
    /// Where the events go: groups, stdout, exec:COMMAND, exec1:COMMAND, or an http:// or https:// URL
    /// [default: groups; in a store without any, the plan is shown and nothing is replayed].
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: Option<String>,
    /// Only to this consumer group [default: to all that there are].
    #[arg(long = "group", value_name = "NAME", value_parser = group::name, add = complete::groups())]
    pub(crate) groups: Vec<String>,
    /// With groups: print the replay's id and do not wait; a consumer runs it.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) detach: bool,
    /// Count what would be replayed, and replay nothing.
    #[arg(long, group = "planned")]
    pub(crate) dry_run: bool,
    /// Keep the plan and send nothing: `plans show` pages through it, `replay --apply` sends it.
    #[arg(long, group = "planned", conflicts_with_all = ["detach", "max_retries", "hash", "yes", "ramp", "stop_after_failures"])]
    pub(crate) plan: bool,
    /// Send only if the plan has this hash, as --dry-run prints it.
    #[arg(long, value_name = "HASH", conflicts_with = "dry_run")]
    pub(crate) hash: Option<String>,
    /// Do not ask before sending more events than plans.confirm_above.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// At most this many events, the oldest matching ones.
    #[arg(short = 'n', long, value_name = "N", value_parser = number::limit, allow_hyphen_values = true)]
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
    /// With groups: send this many events and pause, then the next number, and so on, as in 1,10,100,all;
    /// `replays resume` starts the next stage. The last stage has all other events.
    #[arg(long, value_name = "N,...", value_parser = number::ramp, allow_hyphen_values = true)]
    pub(crate) ramp: Option<Ramp>,
    /// Pause once this many events failed, or this share of them, such as 2%; to another target than groups:
    /// end. Events that are with the groups at that moment are still handled.
    #[arg(long, value_name = "N|P%", value_parser = number::failure_limit, allow_hyphen_values = true)]
    pub(crate) stop_after_failures: Option<FailureLimit>,
    /// Retries while the target (with groups: the store) cannot be reached; how often an event is tried
    /// again is for its consumer to say [default: 3, the setting retries.max].
    #[arg(long, value_name = "N", value_parser = number::retries, allow_hyphen_values = true)]
    pub(crate) max_retries: Option<u32>,
    /// With --dry-run or --plan: do not count what today's schemas would refuse, which takes most of the time.
    #[arg(long, requires = "planned")]
    pub(crate) no_schema_check: bool,
}

impl RunArgs {
    /// Returns whether the plan is compared with the current schemas. Only a plan that is shown needs the comparison.
    pub(super) fn checks_schemas(&self) -> bool {
        (self.dry_run || self.plan) && !self.no_schema_check
    }

    /// Returns whether the replay goes to groups only by default, because no flag names a target.
    pub(super) fn leaves_target_open(&self) -> bool {
        self.target.is_none() && self.groups.is_empty() && !self.detach
    }

    /// The requested pace.
    pub(super) fn pace(&self) -> PaceRequest {
        PaceRequest { delay: self.delay, rate: self.rate, batch_size: self.batch_size }
    }

    /// Parses the target. Without `--target`, the target is the groups.
    pub(super) fn target(&self) -> Result<Target, CliError> {
        let target = self.target.as_deref().map_or(Ok(Target::Groups), Target::parse)?;
        if matches!(target, Target::Groups) {
            return Ok(target);
        }
        let flags = [
            (!self.groups.is_empty(), "--group"),
            (self.detach, "--detach"),
            (self.ramp.is_some(), "--ramp"),
        ];
        for (given, flag) in flags {
            if given {
                return Err(CliError::usage(format!(
                    "{flag} is for replays into groups: leave out --target"
                )));
            }
        }
        Ok(target)
    }
}
