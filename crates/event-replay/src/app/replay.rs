//! The selection of a replay, and the checks before it runs.

use std::{sync::Arc, time::Duration};

use domain::{
    Filter, StorageFailure,
    audit::AuditPhase,
    ports::{EventValidator, ReplayRecord, ReplayTarget},
};
use replay::{
    FailureLimit, GroupChoice, GroupReplayOptions, Pace, Plan, ReplayError, ReplayManager, ReplayOptions,
    ReplayReport, ReplayWatcher,
};

use super::{
    audit::{self, Action, Actor, Facts, audited, facts},
    bounds::BoundsRequest,
    error::{AppError, InvalidRequest, NotFound},
    missed::MissedRequest,
    plans::Permitted,
    schemas::registry,
    store::clock,
    upcasting::upcasters,
};
use crate::{handle::StoreHandle, manager::replay_manager, settings::Settings};

/// Events per batch to a pipe, if neither a delay nor a rate requires small batches. Each batch needs one commit for
/// the replay counts of its events.
const UNPACED_BATCH: usize = 1000;

/// The events that a replay selects.
#[derive(Debug, Clone)]
pub enum ReplaySelection {
    /// A part of the history.
    Slice {
        /// The filter.
        filter: Filter,
        /// The bounds by events.
        bounds: BoundsRequest,
        /// Whether all events are meant if filter and bounds exclude none.
        all: bool,
    },
    /// The events after a checkpoint.
    Recovery {
        /// The name or id of the checkpoint.
        checkpoint: String,
        /// The filter.
        filter: Filter,
        /// The bounds by events.
        bounds: BoundsRequest,
        /// Whether the replay runs although retention removed some of the events.
        allow_gap: bool,
    },
    /// The events that a group missed.
    Missed(MissedRequest),
}

impl ReplaySelection {
    /// Returns the filter.
    pub fn filter(&self) -> &Filter {
        match self {
            Self::Slice { filter, .. } | Self::Recovery { filter, .. } => filter,
            Self::Missed(missed) => &missed.filter,
        }
    }

    /// Returns whether a replay of all events is permitted. A bound by an event permits it, because the caller has then
    /// selected events.
    pub fn is_all(&self) -> bool {
        match self {
            Self::Slice { all, bounds, .. } => *all || !bounds.is_empty(),
            Self::Recovery { .. } | Self::Missed(_) => true,
        }
    }

    /// Returns an error for a replay of all events that the caller did not confirm.
    ///
    /// # Errors
    /// Returns [`InvalidRequest`] in this case.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match !self.is_all() && self.filter().is_everything() {
            true => Err(InvalidRequest::ReplaysEverything),
            false => Ok(()),
        }
    }
}

/// Returns the planner and runner over a store, without upcasters. Use it for operations that deliver no event.
pub fn manager(store: &StoreHandle) -> ReplayManager {
    replay_manager(store.ports(), None, clock())
}

/// Returns the planner and runner over a store, with the upcasters of the settings. Its plans do not validate events by
/// the current schemas.
///
/// # Errors
/// Returns [`AppError`] when the upcasters cannot be used.
pub fn manager_with_upcasters(store: &StoreHandle, settings: &Settings) -> Result<ReplayManager, AppError> {
    Ok(manager(store).with_upcaster(upcasters(settings)?))
}

/// Returns a planner with the upcasters of the settings. Its plans count the events that the current schemas refuse.
///
/// # Errors
/// Returns [`AppError`] when the upcasters cannot be used, or when the schemas cannot be read.
pub async fn manager_with_schemas(
    store: &StoreHandle,
    settings: &Settings,
) -> Result<ReplayManager, AppError> {
    let upcasters = upcasters(settings)?;
    let validator: Arc<dyn EventValidator> = Arc::new(registry(store, settings.engine).await?);
    Ok(replay_manager(store.ports(), Some(validator), clock()).with_upcaster(upcasters))
}

/// Checks the groups of a replay: the store has groups, and every named group exists. The check runs before the scan of
/// the log, so the caller gets the error at once.
///
/// # Errors
/// Returns [`AppError`] when no group exists, when a named group does not exist, or when the store fails.
pub async fn check_groups(store: &StoreHandle, names: &[String]) -> Result<(), AppError> {
    let known: Vec<String> = store.groups().await?.into_iter().map(|record| record.spec.name).collect();
    if known.is_empty() && names.is_empty() {
        return Err(NotFound::AnyGroup.into());
    }
    match names.iter().find(|name| !known.contains(name)) {
        Some(name) => Err(ReplayError::UnknownGroup { name: name.clone(), known }.into()),
        None => Ok(()),
    }
}

/// Returns the audited action of a plan. The filter is left out, because it may name entities. The record of the replay
/// has it.
fn of_plan(plan: &Plan, permitted: &Permitted) -> Action {
    let name = if plan.checkpoint.is_some() { "recover" } else { "replay" };
    let action = Action::new(name).planned(&plan.plan_hash).with("events", plan.total_events);
    let action = match &plan.checkpoint {
        Some(checkpoint) => action.with("checkpoint", checkpoint.as_str()),
        None => action,
    };
    match permitted.plan() {
        Some(id) => action.with("plan", id),
        None => action,
    }
}

/// Creates a replay of a plan into consumer groups; see [`ReplayManager::start_group_replay`].
///
/// # Errors
/// The same errors as [`ReplayManager::start_group_replay`].
pub async fn start(
    store: &StoreHandle,
    by: &Actor,
    manager: &ReplayManager,
    plan: &Plan,
    permitted: &Permitted,
    options: &GroupReplayOptions,
) -> Result<ReplayRecord, AppError> {
    let groups: Vec<String> = match &options.groups {
        GroupChoice::Named(names) => names.iter().cloned().collect(),
        GroupChoice::All => vec![],
    };
    let action = of_plan(plan, permitted).to("groups").with("groups", groups);
    let starting = async { manager.start_group_replay(plan, options).await.map_err(AppError::from) };
    audited(store, by, action, starting, |record| facts([("replay", record.id.clone().into())])).await
}

/// Runs a plan to a target; see [`ReplayManager::run`]. If the store is not writable, the plan runs without an entry in
/// the audit.
///
/// # Errors
/// The same errors as [`ReplayManager::run`].
pub async fn run(
    store: &StoreHandle,
    by: &Actor,
    manager: &ReplayManager,
    (plan, permitted): (&Plan, &Permitted),
    target: &mut dyn ReplayTarget,
    options: &ReplayOptions,
    watcher: &dyn ReplayWatcher,
) -> Result<ReplayReport, ReplayError> {
    let action = of_plan(plan, permitted).to(&options.target);
    let begun = match audit::begin(store, by, &action).await {
        Ok(begun) => Some(begun),
        // A replay to a target only reads. So a missing right to write and a full disk are not errors here.
        Err(error @ (StorageFailure::Denied(_) | StorageFailure::Full(_))) => {
            tracing::debug!(%error, "the replay is not in the audit");
            None
        }
        Err(error) => return Err(error.into()),
    };
    let ran = manager.run(plan, target, options, watcher).await;
    if let Some(begun) = begun {
        let (phase, facts) = ended(begun, &ran);
        audit::end(store, by, &action, phase, facts).await;
    }
    ran
}

fn ended(begun: u64, ran: &Result<ReplayReport, ReplayError>) -> (AuditPhase, Facts) {
    let counts = |report: &ReplayReport| {
        facts([
            ("replay", report.replay_id.clone().into()),
            ("handled", report.successful_replays.into()),
            ("failed", report.failed_replays.into()),
            ("skipped", report.skipped_events.into()),
            ("missing", report.missing.into()),
            ("remaining", report.remaining.into()),
        ])
    };
    match ran {
        Ok(report) => (AuditPhase::Done { begun }, counts(report)),
        Err(ReplayError::Interrupted { error, report }) => {
            (AuditPhase::Failed { begun, error: error.to_string() }, counts(report))
        }
        Err(error) => (AuditPhase::Failed { begun, error: error.to_string() }, Facts::new()),
    }
}

/// The kind of receiver of a replay, which determines the default pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// A service: consumer groups, a command or an endpoint. It gets a pause between batches.
    Service,
    /// A pipe. It limits the rate itself.
    Pipe,
}

/// The bounds at which a replay pauses by itself. By default it has none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StopRequest {
    /// The events of its first stages; the last stage has all other events.
    pub ramp: Vec<u64>,
    /// The number of failed events at which it pauses.
    pub failure_limit: Option<FailureLimit>,
}

/// The requested pace of a replay. Unset members have the default of the receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PaceRequest {
    /// The pause between batches.
    pub delay: Option<Duration>,
    /// The largest number of events per second.
    pub rate: Option<f64>,
    /// The number of events per batch.
    pub batch_size: Option<usize>,
}

impl PaceRequest {
    /// Returns the pace and the number of events per batch.
    pub fn resolve(&self, receiver: Receiver) -> (Pace, usize) {
        let pace = match (self.delay, self.rate) {
            (Some(delay), _) if delay.is_zero() => Pace::Unpaced,
            (Some(delay), _) => Pace::Delay(delay),
            (None, Some(rate)) => Pace::Rate(rate),
            (None, None) => default_pace(receiver),
        };
        let batch_size = self.batch_size.unwrap_or_else(|| default_batch_size(receiver, &pace));
        (pace, batch_size)
    }
}

fn default_pace(receiver: Receiver) -> Pace {
    match receiver {
        Receiver::Pipe => Pace::Unpaced,
        Receiver::Service => Pace::default(),
    }
}

fn default_batch_size(receiver: Receiver, pace: &Pace) -> usize {
    match (receiver, pace) {
        (Receiver::Pipe, Pace::Unpaced) => UNPACED_BATCH,
        _ => ReplayOptions::default().batch_size,
    }
}
