//! Operations of a service's groups from code: replays, recoveries, dead letters.

use std::sync::Arc;

use domain::{DeadLetter, DeadLetterState, Filter, StorageFailure, ports::DeadLetterQuery};
use replay::{
    Cancel, DiscardReport, FailureLimit, GroupChoice, GroupReplayOptions, JobRunner, Letters, Pace, Plan, PlanRequest,
    RedriveReport, Redriver, ReplayError, ReplayManager, ReplayReport,
};

use super::running::RunningService;

impl<S: Send + Sync + 'static> RunningService<S> {
    /// Begins a replay of the events of a filter: say into which groups it goes, and run it.
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

    /// Begins a replay of everything that came after a checkpoint: say into which groups it goes, and run it.
    pub fn recover(&self, checkpoint: impl Into<String>) -> Replay<'_> {
        Replay::new(&self.manager, Filter::default(), Some(checkpoint.into()))
    }

    /// Marks the end of the log as it is now, so that what comes later can be had again with [`RunningService::recover`].
    ///
    /// # Errors
    /// When the name is empty, too long or taken, or the store fails.
    pub async fn checkpoint(&self, name: &str) -> Result<domain::Checkpoint, ReplayError> {
        self.manager.create_checkpoint(name, None, serde_json::Map::new()).await
    }

    /// The open dead letters of a group: list, redrive or discard them.
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

/// A replay in the making. It stores no event: its groups handle again what the log has.
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

    /// Into this group. A replay goes into one group at least; said several times, into each.
    pub fn into(mut self, group: impl Into<String>) -> Self {
        match &mut self.options.groups {
            GroupChoice::Named(names) => {
                names.insert(group.into());
            }
            GroupChoice::All => {}
        }
        self
    }

    /// Into every group of the store, those of other services included.
    pub fn into_all_groups(mut self) -> Self {
        self.options.groups = GroupChoice::All;
        self
    }

    /// So many events a second; as fast as the groups take them where nothing is said.
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

    /// At most so many events, the oldest of those that match.
    pub fn limit(mut self, events: u64) -> Self {
        self.request.limit = Some(events);
        self
    }

    /// Of a recovery: the events of this filter alone.
    pub fn only(mut self, filter: Filter) -> Self {
        self.request.filter = Arc::new(filter);
        self
    }

    /// Permits a replay of everything there is: without a filter that excludes something.
    pub fn everything(mut self) -> Self {
        self.options.all = true;
        self
    }

    /// Of a recovery: goes on although something that came after the checkpoint was removed.
    pub fn allow_gap(mut self) -> Self {
        self.allow_gap = true;
        self
    }

    /// What it would send, and nothing more: the counts of a dry run.
    ///
    /// # Errors
    /// When the request makes no sense, there is no such checkpoint, or the store fails.
    pub async fn plan(&self) -> Result<Plan, ReplayError> {
        match &self.checkpoint {
            Some(name) => self.manager.recovery_plan(name, self.request.clone(), self.allow_gap, None).await,
            None => self.manager.plan(self.request.clone(), None).await,
        }
    }

    /// Starts it and leaves it to a process that hosts replays of its groups; its id. [`RunningService::replays`] finds, pauses and ends it.
    ///
    /// # Errors
    /// When no group is named, one is unknown, the replay is of everything and that was not permitted, or the store fails.
    pub async fn start(&self) -> Result<String, ReplayError> {
        self.options.check()?;
        let plan = self.plan().await?;
        Ok(self.manager.start_group_replay(&plan, &self.options).await?.id)
    }

    /// Runs it, and waits until its groups have handled every event or given it up.
    ///
    /// # Errors
    /// As [`Replay::start`]. A replay of which events failed is no error: the report says so.
    pub async fn run(&self) -> Result<ReplayReport, ReplayError> {
        let id = self.start().await?;
        JobRunner::new(self.manager.clone()).run(&id, &(), &Cancel::default()).await
    }
}

/// The open dead letters of a group, all of them or those of a filter.
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
    /// Those whose events match.
    pub fn only(mut self, filter: Filter) -> Self {
        self.query.filter = Arc::new(filter);
        self
    }

    /// At most so many, the oldest.
    pub fn limit(mut self, letters: usize) -> Self {
        self.query.limit = letters;
        self
    }

    /// The letters, with their events and what each attempt said, the oldest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> Result<Vec<DeadLetter>, StorageFailure> {
        /// Letters of one read.
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

    /// Sends them to the group again, and waits until each is handled or has failed again.
    ///
    /// # Errors
    /// When the store fails; what was sent until then is on its way.
    pub async fn redrive(&self) -> Result<RedriveReport, ReplayError> {
        let letters = Letters::Matching(self.query.clone());
        self.redriver().redrive(letters, true, &(), &Cancel::default()).await
    }

    /// Closes them unhandled, with the reason.
    ///
    /// # Errors
    /// When the reason is empty, or the store fails; what was closed until then stays closed.
    pub async fn discard(&self, reason: &str) -> Result<DiscardReport, ReplayError> {
        self.redriver().discard(Letters::Matching(self.query.clone()), reason).await
    }

    fn redriver(&self) -> Redriver {
        Redriver::new(self.store.clone(), self.store.clone())
    }
}
