//! A replay in two requests: a plan that says what would be sent, and a start that names the plan by its mark and hash.

use domain::{Cursor, ports::event_store::ProgressCallback};
use replay::{GroupChoice, GroupReplayOptions, Plan, PlanRequest, ReplayManager, ReplaySummary};

use super::{
    approval,
    audit::Actor,
    error::AppError,
    plans::permit,
    replay::{PaceRequest, Receiver, ReplaySelection, StopRequest, check_groups, manager, start as start_replay},
};
use crate::{handle::StoreHandle, settings::Settings};

/// The selection of a plan.
#[derive(Debug, Clone)]
pub struct PlannedSelection {
    /// Which events.
    pub selection: ReplaySelection,
    /// At most this many events, the oldest that match.
    pub limit: Option<u64>,
    /// The mark at which it ends; none: the head as it is now.
    pub mark: Option<Cursor>,
}

impl PlannedSelection {
    /// Freezes and counts it. The manager decides whether today's schemas can be asked.
    ///
    /// # Errors
    /// When it selects everything unasked, its checkpoint is unknown or lies before a gap, or the store fails.
    pub async fn plan(
        self,
        manager: &ReplayManager,
        check_schemas: bool,
        progress: Option<ProgressCallback>,
    ) -> Result<Plan, AppError> {
        self.selection.check()?;
        let Self { selection, limit, mark } = self;
        let request = |filter| PlanRequest { limit, check_schemas, until: mark, ..PlanRequest::new(filter) };
        Ok(match selection {
            ReplaySelection::Slice { filter, .. } => manager.plan(request(filter), progress).await?,
            ReplaySelection::Recovery { checkpoint, filter, allow_gap } => {
                manager.recovery_plan(&checkpoint, request(filter), allow_gap, progress).await?
            }
        })
    }
}

/// A replay into consumer groups, of a plan that was looked at.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    /// The selection of the plan, with its mark.
    pub planned: PlannedSelection,
    /// The plan's hash.
    pub hash: String,
    /// The groups that it goes to; none: all that there are.
    pub groups: Vec<String>,
    /// How fast it goes.
    pub pace: PaceRequest,
    /// The bounds at which it pauses by itself.
    pub stops: StopRequest,
}

/// A replay that was made, and waits for a process that runs it.
#[derive(Debug, Clone)]
pub struct StartedReplay {
    /// The replay.
    pub replay: ReplaySummary,
    /// Groups of it that no consumer looks after.
    pub groups_without_consumers: Vec<String>,
}

/// Makes the replay. Any process that runs replays runs it, this one too where it does.
///
/// # Errors
/// When the plan is not what was confirmed, it needs an approval, a group is unknown or there is none, or the store fails.
pub async fn start(
    store: &StoreHandle,
    by: &Actor,
    settings: &Settings,
    request: ReplayRequest,
) -> Result<StartedReplay, AppError> {
    let ReplayRequest { planned, hash, groups, pace, stops: StopRequest { ramp, failure_limit } } = request;
    // Told at once, not after the scan of a whole log.
    check_groups(store, &groups).await?;
    let manager = manager(store);
    let all = planned.selection.is_all();
    let plan = planned.plan(&manager, false, None).await?;
    approval::check(&hash, &plan.plan_hash)?;
    let permitted = permit(store, settings, &plan, None, &groups).await?;
    let (pace, batch_size) = pace.resolve(Receiver::Service);
    let groups = match groups.is_empty() {
        true => GroupChoice::All,
        false => GroupChoice::named(groups),
    };
    let options = GroupReplayOptions { groups, batch_size, pace, all, ramp, failure_limit };
    let record = start_replay(store, by, &manager, &plan, &permitted, &options).await?;
    let replay = ReplaySummary::of(&record)?;
    let groups_without_consumers = manager.groups_without_consumers(&replay.id).await?;
    Ok(StartedReplay { replay, groups_without_consumers })
}
