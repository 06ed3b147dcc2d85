//! The main interface of this crate: plan, replay, checkpoint, recover.

use std::{fmt, sync::Arc};

use domain::{
    Checkpoint, Entity, Filter, RetentionRule, Upcasters,
    filter::Compile,
    ports::{
        CheckpointStore, Clock, DeadLetterStore, EventStore, EventUpcaster, EventValidator, GroupHolds,
        GroupStore, ReplayStore, ReplayTarget, event_store::ProgressCallback,
    },
};
use serde_json::{Map, Value};
use stats::Meter;

use crate::{
    cancel::Cancel,
    checkpoints::{CheckpointDiff, Checkpoints, NewCheckpoint},
    error::ReplayError,
    options::{ReplayOptions, ReplayWatcher},
    plan::{Plan, PlanRequest},
    planner::{self, Checks},
    recorded::Recorded,
    report::{ReplayReport, ReplayStatus},
    retention::{self, RetentionOptions, RetentionProgress, RetentionReport},
    run::Run,
    span::{ReplaySpan, outcome_of},
    upcasting::UpcastingTarget,
};

/// Plans and runs replays, and manages checkpoints.
/// ```
/// use std::sync::Arc;
/// use domain::{Filter, TypePattern, ports::SystemClock};
/// use event_replay_replay::{PlanRequest, ReplayManager, ReplayOptions};
/// use storage_memory::MemoryEngine;
/// use store::Store;
/// use targets::NdjsonTarget;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let store = Arc::new(Store::new(MemoryEngine::default()));
/// let manager = ReplayManager::new(store.clone(), store.clone(), store, None, Arc::new(SystemClock));
/// let filter = Filter { types: vec![TypePattern::new("user.*")], ..Filter::default() };
/// let plan = manager.plan(PlanRequest::new(filter), None).await.unwrap();
/// let mut target = NdjsonTarget::new(Vec::new());
/// let report = manager.run(&plan, &mut target, &ReplayOptions::default(), &()).await.unwrap();
/// assert_eq!(report.successful_replays, plan.total_events);
/// # });
/// ```
#[derive(Clone)]
pub struct ReplayManager {
    events: Arc<dyn EventStore>,
    replays: Arc<dyn ReplayStore>,
    checkpoints: Checkpoints,
    validator: Option<Arc<dyn EventValidator>>,
    upcaster: Arc<dyn EventUpcaster>,
    clock: Arc<dyn Clock>,
    pub(crate) groups: Option<Arc<dyn GroupStore>>,
    letters: Option<Arc<dyn DeadLetterStore>>,
    group_holds: GroupHolds,
    compile: Option<Arc<Compile>>,
    meter: Option<Meter>,
}

impl fmt::Debug for ReplayManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayManager").finish_non_exhaustive()
    }
}

impl ReplayManager {
    /// Creates a manager over a store's ports. Without a validator, plans cannot check schemas.
    pub fn new(
        events: Arc<dyn EventStore>,
        replays: Arc<dyn ReplayStore>,
        checkpoints: Arc<dyn CheckpointStore>,
        validator: Option<Arc<dyn EventValidator>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let checkpoints = Checkpoints::new(Arc::clone(&events), checkpoints, Arc::clone(&clock));
        Self {
            events,
            replays,
            checkpoints,
            validator,
            upcaster: Arc::new(Upcasters::default()),
            clock,
            groups: None,
            letters: None,
            group_holds: GroupHolds::default(),
            compile: None,
            meter: None,
        }
    }

    /// Adds the group store, so that replays can go to consumer groups.
    #[must_use]
    pub fn with_groups(mut self, groups: Arc<dyn GroupStore>) -> Self {
        self.groups = Some(groups);
        self
    }

    /// Sets the upcaster that each event passes before a target gets it, such as [`Upcasters`]. Plans count the events
    /// that need it. Consumers upcast the events of replays into groups.
    #[must_use]
    pub fn with_upcaster(mut self, upcaster: Arc<dyn EventUpcaster>) -> Self {
        self.upcaster = upcaster;
        self
    }

    /// Adds a compiler of conditions. The filter in the record of a replay may have a condition, which must be compiled
    /// again.
    #[must_use]
    pub fn with_conditions(mut self, compile: Arc<Compile>) -> Self {
        self.compile = Some(compile);
        self
    }

    /// Adds counters for the outcomes of replays to targets. Consumers count the outcomes of replays into groups.
    #[must_use]
    pub fn with_meter(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Adds the dead letter store, so that retention also removes old closed dead letters.
    #[must_use]
    pub fn with_dead_letters(mut self, letters: Arc<dyn DeadLetterStore>) -> Self {
        self.letters = Some(letters);
        self
    }

    /// Sets how long consumer groups keep events from retention.
    #[must_use]
    pub fn with_group_holds(mut self, holds: GroupHolds) -> Self {
        self.group_holds = holds;
        self
    }

    pub(crate) fn events(&self) -> &Arc<dyn EventStore> {
        &self.events
    }

    pub(crate) fn replays(&self) -> &Arc<dyn ReplayStore> {
        &self.replays
    }

    pub(crate) fn compile(&self) -> Option<&Compile> {
        self.compile.as_deref()
    }

    pub(crate) fn count(&self, name: &'static str, label: &str, n: u64) {
        if let Some(meter) = &self.meter
            && n > 0
        {
            meter.count(name, label, n);
        }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Returns the interface to make, find and compare checkpoints.
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Freezes and counts the set of events that a replay would send. Writes nothing. `progress` receives (positions
    /// passed, positions to pass).
    ///
    /// # Errors
    /// Returns an error when the request is invalid, or when the store fails.
    pub async fn plan(
        &self,
        request: PlanRequest,
        progress: Option<ProgressCallback>,
    ) -> Result<Plan, ReplayError> {
        let checks = Checks { validator: self.validator.as_deref(), upcaster: &*self.upcaster };
        planner::plan(&self.events, checks, request, progress.as_ref()).await
    }

    /// Runs a plan: sends exactly its set to the target, in log order. An event that cannot be upcast has failed, and the
    /// target does not get it. The run ends when the target fails or closes,
    /// and the report says so. The run writes a record, so that other processes can watch, pause or cancel it. If the
    /// store cannot be written, the run continues without a record.
    ///
    /// # Errors
    /// Returns an error when the options are invalid, or when the plan covers everything and the options do not permit
    /// that. Returns [`ReplayError::Interrupted`], with the report, when the store fails during the run.
    pub async fn run(
        &self,
        plan: &Plan,
        target: &mut dyn ReplayTarget,
        options: &ReplayOptions,
        watcher: &dyn ReplayWatcher,
    ) -> Result<ReplayReport, ReplayError> {
        options.check()?;
        if plan.after.is_none() {
            check_everything(&plan.filter, options.all)?;
        }
        let recorded = Recorded::begin(self, plan, options).await?;
        let mut target = UpcastingTarget::new(target, &*self.upcaster);
        let (id, target_name) = (recorded.id.clone(), options.target.clone());
        let span = ReplaySpan { id: &id, target: target_name, events: plan.total_events };
        let run = Run::new(self, plan, &mut target, options, watcher, recorded).execute();
        let outcome = |run: &Result<ReplayReport, ReplayError>| match run {
            Ok(report) => outcome_of(report.status),
            Err(_) => outcome_of(ReplayStatus::Failed),
        };
        span.around(Box::pin(run), outcome).await
    }

    /// Plans and replays the events of a filter.
    ///
    /// # Errors
    /// As [`ReplayManager::plan`] and [`ReplayManager::run`].
    pub async fn replay_events(
        &self,
        filter: impl Into<Arc<Filter>> + Send,
        options: &ReplayOptions,
        target: &mut dyn ReplayTarget,
    ) -> Result<ReplayReport, ReplayError> {
        let request = PlanRequest { limit: options.limit, ..PlanRequest::new(filter) };
        options.check()?;
        // The check comes before the plan, which may scan a whole log.
        check_everything(&request.filter, options.all)?;
        let plan = self.plan(request, None).await?;
        self.run(&plan, target, options, &()).await
    }

    /// Replays a workflow: the events of one correlation id.
    ///
    /// # Errors
    /// As [`ReplayManager::replay_events`].
    pub async fn replay_correlated_events(
        &self,
        correlation_id: &str,
        options: &ReplayOptions,
        target: &mut dyn ReplayTarget,
    ) -> Result<ReplayReport, ReplayError> {
        self.replay_events(Filter::correlation(correlation_id), options, target).await
    }

    /// Replays the events that name a user by `userId`.
    ///
    /// # Errors
    /// As [`ReplayManager::replay_events`].
    pub async fn replay_user_events(
        &self,
        user_id: &str,
        options: &ReplayOptions,
        target: &mut dyn ReplayTarget,
    ) -> Result<ReplayReport, ReplayError> {
        self.replay_events(Filter::of_entity(Entity::new("user", user_id)), options, target).await
    }

    /// Makes a checkpoint at an event, or at the newest event. For more options, see [`Checkpoints::create`].
    ///
    /// # Errors
    /// Returns an error when the name is empty, too long or taken, when the event is unknown, or when the store fails.
    pub async fn create_checkpoint(
        &self,
        name: &str,
        last_processed_event_id: Option<&str>,
        metadata: Map<String, Value>,
    ) -> Result<Checkpoint, ReplayError> {
        let new = NewCheckpoint {
            name: name.to_owned(),
            last_processed_event_id: last_processed_event_id.map(str::to_owned),
            metadata,
            ..NewCheckpoint::default()
        };
        self.checkpoints.create(new).await
    }

    /// Plans a recovery: the events at positions after a checkpoint's mark. This includes events with an earlier
    /// timestamp that arrived later. The request selects among these events. The plan begins after the checkpoint and
    /// after the request's own start.
    ///
    /// # Errors
    /// Returns [`ReplayError::CheckpointGap`] when an event after the mark is missing and `allow_gap` does not permit
    /// that. Otherwise as [`ReplayManager::plan`].
    pub async fn recovery_plan(
        &self,
        name_or_id: &str,
        request: PlanRequest,
        allow_gap: bool,
        progress: Option<ProgressCallback>,
    ) -> Result<Plan, ReplayError> {
        let checkpoint = self.checkpoints.find(name_or_id).await?;
        self.checkpoints.check(&checkpoint, allow_gap).await?;
        let mark = &checkpoint.mark;
        let after = Some(request.after.as_ref().map_or_else(|| mark.clone(), |after| mark.later(after)));
        let plan = self.plan(PlanRequest { after, ..request }, progress).await?;
        let plan = Plan { checkpoint: Some(checkpoint.name.clone()), ..plan };
        // Retention may have removed events after the mark during the planning.
        self.checkpoints.check(&checkpoint, allow_gap).await?;
        Ok(plan)
    }

    /// Replays every event after a checkpoint.
    ///
    /// # Errors
    /// As [`ReplayManager::recovery_plan`] and [`ReplayManager::run`].
    pub async fn recover_from_checkpoint(
        &self,
        name_or_id: &str,
        options: &ReplayOptions,
        target: &mut dyn ReplayTarget,
    ) -> Result<ReplayReport, ReplayError> {
        options.check()?;
        let request = PlanRequest { limit: options.limit, ..PlanRequest::new(Filter::default()) };
        let plan = self.recovery_plan(name_or_id, request, false, None).await?;
        self.run(&plan, target, options, &()).await
    }

    /// Counts the events between two checkpoints.
    ///
    /// # Errors
    /// As [`Checkpoints::diff`].
    pub async fn diff_checkpoints(&self, one: &str, other: &str) -> Result<CheckpointDiff, ReplayError> {
        self.checkpoints.diff(one, other).await
    }

    /// Applies retention rules. Events that checkpoints, consumer groups or replays hold stay. A store that keeps
    /// events only until delivery also removes every event that all groups have, without any rule. See
    /// [`retention::apply_with`].
    ///
    /// # Errors
    /// Returns an error when the store fails. The events removed before the failure stay removed.
    pub async fn apply_retention(
        &self,
        rules: &[RetentionRule],
        dry_run: bool,
        progress: Option<RetentionProgress<'_>>,
    ) -> Result<RetentionReport, ReplayError> {
        self.trim(rules, dry_run, progress, Cancel::default()).await
    }

    /// Applies retention rules as [`ReplayManager::apply_retention`] does. Stops after the current step when `stop` is
    /// cancelled.
    pub(crate) async fn trim(
        &self,
        rules: &[RetentionRule],
        dry_run: bool,
        progress: Option<RetentionProgress<'_>>,
        stop: Cancel,
    ) -> Result<RetentionReport, ReplayError> {
        let options = RetentionOptions {
            dry_run,
            groups: self.group_holds,
            letters: self.letters.clone(),
            now: self.clock.now(),
            stop,
        };
        retention::apply_with(&self.events, &self.checkpoints, rules, &options, progress).await
    }
}

pub(crate) fn check_everything(filter: &Filter, all: bool) -> Result<(), ReplayError> {
    if filter.is_everything() && !all { Err(ReplayError::Everything) } else { Ok(()) }
}
