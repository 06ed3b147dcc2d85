//! Operations on the groups of a service: replays, recoveries, dead letters.

use std::sync::Arc;

use domain::{Cursor, DeadLetter, DeadLetterState, Filter, StorageFailure, ports::DeadLetterQuery};
use replay::{
    Cancel, DiscardReport, FailureLimit, GroupChoice, GroupReplayOptions, JobRunner, Letters, Pace, Plan,
    PlanRequest, RedriveReport, Redriver, ReplayError, ReplayManager, ReplayReport,
};

use super::running::RunningService;

impl<S: Send + Sync + 'static> RunningService<S> {
    /// Starts the definition of a replay of the events that match a filter. Add the groups, then run it.
    ///
    /// ```no_run
    /// # async fn sketch(service: event_replay::RunningService<()>) -> Result<(), Box<dyn std::error::Error>> {
    /// use event_replay::Filter;
    /// let payments = Filter::types(["payment.*"]).since("2026-01-01T00:00:00Z".parse()?);
    /// let report = service.replay(payments).into("ledger").rate(100.0).run().await?;
    /// println!("{} events replayed", report.successful_replays);
    /// # Ok(()) }
    /// ```
    pub fn replay(&self, filter: Filter) -> Replay<'_> {
        Replay::new(&self.manager, filter, None)
    }

    /// Starts the definition of a replay of all events after a checkpoint. Add the groups, then run it.
    pub fn recover(&self, checkpoint: impl Into<String>) -> Replay<'_> {
        Replay::new(&self.manager, Filter::default(), Some(checkpoint.into()))
    }

    /// Creates a checkpoint at the current end of the log. [`RunningService::recover`] replays the events after it.
    ///
    /// # Errors
    /// Returns [`ReplayError`] when the name is empty, too long or taken, or when the store fails.
    pub async fn checkpoint(&self, name: &str) -> Result<domain::Checkpoint, ReplayError> {
        self.manager.create_checkpoint(name, None, serde_json::Map::new()).await
    }

    /// Selects the open dead letters of a group, to list, redrive or discard them.
    pub fn dead_letters(&self, group: impl Into<String>) -> DeadLetters<'_> {
        let query = DeadLetterQuery {
            group: Some(group.into()),
            states: vec![DeadLetterState::Open],
            limit: usize::MAX,
            ..DeadLetterQuery::default()
        };
        DeadLetters { store: self.store(), query }
    }
}

/// The definition of a replay. A replay stores no event: its groups handle stored events again.
#[derive(Debug)]
#[must_use = "a replay does nothing until it is run"]
pub struct Replay<'s> {
    manager: &'s ReplayManager,
    request: PlanRequest,
    checkpoint: Option<String>,
    allow_gap: bool,
    options: GroupReplayOptions,
}

impl<'s> Replay<'s> {
    fn new(manager: &'s ReplayManager, filter: Filter, checkpoint: Option<String>) -> Self {
        let none: [&str; 0] = [];
        Self {
            manager,
            request: PlanRequest::new(filter),
            checkpoint,
            allow_gap: false,
            options: GroupReplayOptions { pace: Pace::Unpaced, ..GroupReplayOptions::to(none) },
        }
    }

    /// Adds a group. A replay needs at least one group. Several calls add several groups.
    pub fn into(mut self, group: impl Into<String>) -> Self {
        match &mut self.options.groups {
            GroupChoice::Named(names) => {
                names.insert(group.into());
            }
            GroupChoice::All => {}
        }
        self
    }

    /// Selects every group of the store, including the groups of other services.
    pub fn into_all_groups(mut self) -> Self {
        self.options.groups = GroupChoice::All;
        self
    }

    /// Sets the rate, in events per second. The default is no limit: the replay runs as fast as the groups handle
    /// events.
    pub fn rate(mut self, events_per_second: f64) -> Self {
        self.options.pace = Pace::Rate(events_per_second);
        self
    }

    /// Pauses after each of these numbers of events until it is resumed, and has all other events in its last stage.
    pub fn ramp(mut self, stages: impl IntoIterator<Item = u64>) -> Self {
        self.options.ramp = stages.into_iter().collect();
        self
    }

    /// Pauses once as many events failed.
    pub fn stop_after(mut self, failures: FailureLimit) -> Self {
        self.options.failure_limit = Some(failures);
        self
    }

    /// Sets the largest number of events. The replay takes the oldest matching events.
    pub fn limit(mut self, events: u64) -> Self {
        self.request.limit = Some(events);
        self
    }

    /// Limits the replay to the events after a place in the log. A recovery begins after its checkpoint and after the
    /// place.
    pub fn after(mut self, place: Cursor) -> Self {
        self.request.after = Some(place);
        self
    }

    /// Limits the replay to the events at or before a place in the log. The default is the head at the start.
    pub fn until(mut self, place: Cursor) -> Self {
        self.request.until = Some(place);
        self
    }

    /// Limits a recovery to the events that match this filter.
    pub fn only(mut self, filter: Filter) -> Self {
        self.request.filter = Arc::new(filter);
        self
    }

    /// Permits a replay of all events, which has no filter that excludes an event.
    pub fn everything(mut self) -> Self {
        self.options.all = true;
        self
    }

    /// Permits a recovery if events after the checkpoint were removed.
    pub fn allow_gap(mut self) -> Self {
        self.allow_gap = true;
        self
    }

    /// Returns the plan of the replay and sends nothing: the counts of a dry run.
    ///
    /// # Errors
    /// Returns [`ReplayError`] when the request is not valid, when the checkpoint does not exist, or when the store
    /// fails.
    pub async fn plan(&self) -> Result<Plan, ReplayError> {
        match &self.checkpoint {
            Some(name) => self.manager.recovery_plan(name, self.request.clone(), self.allow_gap, None).await,
            None => self.manager.plan(self.request.clone(), None).await,
        }
    }

    /// Starts the replay and returns its id. A process that hosts replays of these groups runs it.
    /// [`RunningService::replays`] finds, pauses and ends it.
    ///
    /// # Errors
    /// Returns [`ReplayError`] when no group is named, when a group is unknown, or when the store fails. Also returns
    /// it when the replay is of all events and [`Replay::everything`] was not called.
    pub async fn start(&self) -> Result<String, ReplayError> {
        self.options.check()?;
        let plan = self.plan().await?;
        Ok(self.manager.start_group_replay(&plan, &self.options).await?.id)
    }

    /// Runs the replay, and waits until its groups have handled or given up on every event.
    ///
    /// # Errors
    /// The same errors as [`Replay::start`]. Failed events are not an error. The report counts them.
    pub async fn run(&self) -> Result<ReplayReport, ReplayError> {
        let id = self.start().await?;
        JobRunner::new(self.manager.clone()).run(&id, &(), &Cancel::default()).await
    }
}

/// The open dead letters of a group. A filter can restrict the selection.
#[must_use = "dead letters are listed, redriven or discarded"]
pub struct DeadLetters<'s> {
    store: &'s Arc<dyn domain::ports::Stores>,
    query: DeadLetterQuery,
}

impl std::fmt::Debug for DeadLetters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("query", &self.query).finish_non_exhaustive()
    }
}

impl DeadLetters<'_> {
    /// Selects the dead letters with events that match the filter.
    pub fn only(mut self, filter: Filter) -> Self {
        self.query.filter = Arc::new(filter);
        self
    }

    /// Sets the largest number of dead letters. The oldest are selected.
    pub fn limit(mut self, letters: usize) -> Self {
        self.query.limit = letters;
        self
    }

    /// Returns the dead letters with their events and the errors of each attempt, oldest first.
    ///
    /// # Errors
    /// Returns [`StorageFailure`] when the store fails.
    pub async fn list(&self) -> Result<Vec<DeadLetter>, StorageFailure> {
        /// Dead letters per read.
        const PAGE: usize = 100;
        let (mut letters, mut query) = (Vec::new(), self.query.clone());
        while letters.len() < self.query.limit {
            query.limit = PAGE.min(self.query.limit - letters.len());
            let page = self.store.dead_letters(&query).await?;
            let Some(last) = page.last() else { break };
            query.after = Some(last.id.clone());
            letters.extend(page);
        }
        Ok(letters)
    }

    /// Redrives the dead letters, and waits until each is handled or has failed again.
    ///
    /// # Errors
    /// Returns [`ReplayError`] when the store fails. Dead letters that were redriven before the failure stay redriven.
    pub async fn redrive(&self) -> Result<RedriveReport, ReplayError> {
        let letters = Letters::Matching(self.query.clone());
        self.redriver().redrive(letters, true, &(), &Cancel::default()).await
    }

    /// Discards the dead letters with a reason. Their events are not handled.
    ///
    /// # Errors
    /// Returns [`ReplayError`] when the reason is empty, or when the store fails. Dead letters that were discarded
    /// before the failure stay discarded.
    pub async fn discard(&self, reason: &str) -> Result<DiscardReport, ReplayError> {
        self.redriver().discard(Letters::Matching(self.query.clone()), reason).await
    }

    fn redriver(&self) -> Redriver {
        Redriver::new(self.store.clone(), self.store.clone())
    }
}
