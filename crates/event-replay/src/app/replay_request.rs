//! A replay in two requests. The first returns a plan. The second starts the plan, and names it by its mark and hash.

use domain::{Cursor, Filter, ports::event_store::ProgressCallback};
use replay::{GroupChoice, GroupReplayOptions, Plan, PlanRequest, ReplayManager, ReplaySummary};

use super::{
    approval,
    audit::Actor,
    bounds::Bounds,
    error::AppError,
    missed::{Missed, PlanDocument},
    plans::permit,
    replay::{
        PaceRequest, Receiver, ReplaySelection, StopRequest, check_groups, manager, start as start_replay,
    },
};
use crate::{handle::StoreHandle, settings::Settings};

/// The selection of a plan.
#[derive(Debug, Clone)]
pub struct PlannedSelection {
    /// The selected events.
    pub selection: ReplaySelection,
    /// The largest number of events. The oldest matching events are taken.
    pub limit: Option<u64>,
    /// The mark at which the selection ends. `None`: the current head.
    pub mark: Option<Cursor>,
}

impl PlannedSelection {
    /// Freezes and counts the selection. The manager determines whether the current schemas can be checked.
    ///
    /// # Errors
    /// Returns [`AppError`] when the replay is of all events without permission, or when the checkpoint is before a gap.
    /// Returns it when an event of the bounds, the checkpoint or the group is unknown, or when the store fails.
    pub async fn plan(
        self,
        store: &StoreHandle,
        manager: &ReplayManager,
        check_schemas: bool,
        progress: Option<ProgressCallback>,
    ) -> Result<PlannedReplay, AppError> {
        self.selection.check()?;
        let Self { selection, limit, mark } = self;
        let request = |filter: Filter, bounds: Bounds| PlanRequest {
            after: bounds.after,
            until: earlier(mark, bounds.until),
            limit,
            check_schemas,
            ..PlanRequest::new(filter)
        };
        let (plan, missed) = match selection {
            ReplaySelection::Slice { filter, bounds, .. } => {
                let bounds = bounds.resolve(store).await?;
                (manager.plan(request(filter, bounds), progress).await?, None)
            }
            ReplaySelection::Recovery { checkpoint, filter, bounds, allow_gap } => {
                let bounds = bounds.resolve(store).await?;
                let request = request(filter, bounds);
                (manager.recovery_plan(&checkpoint, request, allow_gap, progress).await?, None)
            }
            ReplaySelection::Missed(wanted) => {
                let missed = wanted.find(store).await?;
                let part = missed.choose(wanted.cause)?;
                let bounds = part.marks(&store.head().await?);
                (manager.plan(request(part.filter, bounds), progress).await?, Some(missed))
            }
        };
        Ok(PlannedReplay { plan, missed })
    }
}

/// A plan, and the missed events from which it was chosen.
#[derive(Debug, Clone)]
pub struct PlannedReplay {
    /// The plan.
    pub plan: Plan,
    /// The missed events of the group by cause, if the replay is of missed events.
    pub missed: Option<Missed>,
}

impl PlannedReplay {
    /// Returns the document of a dry run.
    pub fn document(&self) -> PlanDocument<'_> {
        PlanDocument { plan: self.plan.dry_run(), missed: self.missed.as_ref() }
    }
}

/// Returns the earlier of two marks, if there is any.
fn earlier(one: Option<Cursor>, other: Option<Cursor>) -> Option<Cursor> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.earlier(&other)),
        (one, other) => one.or(other),
    }
}

/// A replay of a confirmed plan into consumer groups.
#[derive(Debug, Clone)]
pub struct ReplayRequest {
    /// The selection of the plan, with its mark.
    pub planned: PlannedSelection,
    /// The hash of the plan.
    pub hash: String,
    /// The groups. Empty: all groups.
    pub groups: Vec<String>,
    /// The pace.
    pub pace: PaceRequest,
    /// The bounds at which it pauses by itself.
    pub stops: StopRequest,
}

/// A created replay that waits for a runner.
#[derive(Debug, Clone)]
pub struct StartedReplay {
    /// The replay.
    pub replay: ReplaySummary,
    /// Its groups that have no consumer.
    pub groups_without_consumers: Vec<String>,
}

/// Creates the replay. Any process that runs replays can run it, including this process.
///
/// # Errors
/// Returns [`AppError`] when the plan differs from the confirmed plan, when it needs an approval, when a group is
/// unknown, when no group exists, or when the store fails.
pub async fn start(
    store: &StoreHandle,
    by: &Actor,
    settings: &Settings,
    request: ReplayRequest,
) -> Result<StartedReplay, AppError> {
    let ReplayRequest { planned, hash, groups, pace, stops: StopRequest { ramp, failure_limit } } = request;
    // This check runs before the scan of the log, so the caller gets the error at once.
    check_groups(store, &groups).await?;
    let manager = manager(store);
    let all = planned.selection.is_all();
    let PlannedReplay { plan, .. } = planned.plan(store, &manager, false, None).await?;
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
