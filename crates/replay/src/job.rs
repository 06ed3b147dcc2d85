//! Running a replay into consumer groups: the process that holds its lease runs it, others can watch.

mod batch;
mod settle;
mod source;
mod wind_down;
mod window;
mod work;

use std::time::Duration;

use crate::{
    backoff::repeated,
    cancel::Cancel,
    error::ReplayError,
    lease::{LEASE, LeaseRenewer},
    manager::ReplayManager,
    options::{ReplayProgress, ReplayWatcher},
    record::{Destination, JobProgress, plan_of, progress_of, report_of, written},
    report::ReplayReport,
};
use domain::{
    Retry,
    ports::{EventStoreError, ReplayCommand, ReplayRecord, ReplayState, ReplayUpdate},
};
use work::{RunContext, Work};

/// The interval at which a watcher reads a replay's progress.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Why a runner works no further.
pub(crate) enum Stop {
    /// Another runner has the replay, or may have had it.
    Lost,
    /// This process ends.
    Halted,
    /// The replay cannot continue under any runner.
    Failed(String),
    /// This runner cannot go on now.
    Error(ReplayError),
}

impl From<EventStoreError> for Stop {
    /// A log that is permanently unreadable fails the replay; a fault that passes leaves it to be taken up again.
    fn from(error: EventStoreError) -> Self {
        match error.retry() {
            Retry::Never => Self::Failed(error.to_string()),
            _ => Self::Error(error.into()),
        }
    }
}

/// Runs replays that were made by [`ReplayManager::start_group_replay`].
///
/// Any number of runners may be asked to run the same replay: one of them does, and where it is killed another takes its
/// place within ten seconds, and goes on where it was. No event is delivered twice for that. Replay counts, which are
/// raised before a batch is settled, may count the batches in hand twice.
#[derive(Debug, Clone)]
pub struct JobRunner {
    manager: ReplayManager,
}

impl JobRunner {
    /// A runner over a manager that has groups.
    pub fn new(manager: ReplayManager) -> Self {
        Self { manager }
    }

    /// Runs a replay, or waits while another runner does, until it is over. Cancelling asks the replay to end, and waits
    /// for what was handed over. Dropping the call leaves the replay to other runners.
    ///
    /// # Errors
    /// [`ReplayError::UnknownReplay`], or when the store fails; the replay is then left to be taken up again. A replay that
    /// fails or is cancelled is no error: the report says so.
    pub async fn run(
        &self,
        id: &str,
        watcher: &dyn ReplayWatcher,
        cancel: &Cancel,
    ) -> Result<ReplayReport, ReplayError> {
        let never = Cancel::default();
        let context = RunContext { manager: &self.manager, watcher, cancel, halt: &never };
        loop {
            if let Some(report) = self.run_until(id, context).await? {
                return Ok(report);
            }
        }
    }

    /// Runs a replay until it is over, or until this process ends.
    pub(crate) async fn run_for_host(&self, id: &str, stop: &Cancel) -> Result<(), ReplayError> {
        let never = Cancel::default();
        let context = RunContext { manager: &self.manager, watcher: &(), cancel: &never, halt: stop };
        self.run_until(id, context).await.map(|_| ())
    }

    /// Runs a replay until it is over, or until the context's halt; the report in the first case.
    async fn run_until(
        &self,
        id: &str,
        context: RunContext<'_>,
    ) -> Result<Option<ReplayReport>, ReplayError> {
        let token = fastrand::u64(..);
        let mut follower = Follower::new(context);
        while !context.halt.is_cancelled() {
            let record = self.manager.record(id).await?;
            if record.state.is_final() {
                return report_of(&record).map(Some);
            }
            if !self.has_just_begun(&record)?
                && let Some(renewer) = LeaseRenewer::take(self.manager.replays(), id, token).await?
            {
                match self.attempt(&renewer, context).await {
                    Ok(report) => return Ok(Some(report)),
                    Err(Stop::Lost) => {}
                    Err(Stop::Halted) => renewer.give_back().await,
                    Err(Stop::Failed(why)) => return self.fail(&renewer, why).await.map(Some),
                    Err(Stop::Error(error)) => {
                        renewer.give_back().await;
                        return Err(error);
                    }
                }
            }
            follower.look(&record).await?;
        }
        Ok(None)
    }

    async fn attempt(&self, renewer: &LeaseRenewer, context: RunContext<'_>) -> Result<ReplayReport, Stop> {
        // Read under the lease: what was read before may be old.
        let record = self.manager.record(&renewer.lease().replay_id).await?;
        let plan = plan_of(&record)?;
        if let Destination::Target(_) = &plan.to {
            return Err(Stop::Failed("the process that ran it ended before it was through".to_owned()));
        }
        Work::begin(context, renewer, &record, &plan).await?.run().await
    }

    /// Whether it is a run to a target of another process, which may not have come to lease it yet.
    fn has_just_begun(&self, record: &ReplayRecord) -> Result<bool, ReplayError> {
        let age = self.manager.clock().now().duration_since(record.updated_at);
        let is_young = Duration::try_from(age).is_ok_and(|age| age < LEASE);
        Ok(is_young && matches!(plan_of(record)?.to, Destination::Target(_)))
    }

    /// Ends a replay that no runner can run.
    async fn fail(&self, renewer: &LeaseRenewer, why: String) -> Result<ReplayReport, ReplayError> {
        let id = &renewer.lease().replay_id;
        if let Some(groups) = &self.manager.groups {
            repeated(|| groups.withdraw(id)).await?;
        }
        let record = self.manager.record(id).await?;
        let mut progress = progress_of(&record)?;
        progress.report.ended = Some(why);
        let settled_batches = progress.settled;
        let state = ReplayState::Failed;
        let record = ReplayRecord { state, progress: written(&progress)?, ..record };
        let report = report_of(&record)?;
        progress.report.clone_from(&report);
        let update = ReplayUpdate { state, progress: written(&progress)?, hold: None, settled_batches };
        repeated(|| self.manager.replays().update_replay(renewer.lease(), &update)).await?;
        Ok(report)
    }
}

impl ReplayManager {
    /// Watches a replay that others run, until it is over. None where `stop` is thrown first; the replay goes on then.
    ///
    /// # Errors
    /// [`ReplayError::UnknownReplay`], or when the store fails.
    pub async fn watch(
        &self,
        id: &str,
        watcher: &dyn ReplayWatcher,
        stop: &Cancel,
    ) -> Result<Option<ReplayReport>, ReplayError> {
        let never = Cancel::default();
        let mut follower = Follower::new(RunContext { manager: self, watcher, cancel: &never, halt: stop });
        while !stop.is_cancelled() {
            let record = self.record(id).await?;
            if record.state.is_final() {
                return report_of(&record).map(Some);
            }
            follower.look(&record).await?;
        }
        Ok(None)
    }
}

/// Tells a watcher of a replay that another runs.
struct Follower<'a> {
    context: RunContext<'a>,
    told: Option<ReplayProgress>,
    rests: bool,
    cancel_requested: bool,
}

impl<'a> Follower<'a> {
    fn new(context: RunContext<'a>) -> Self {
        Self { context, told: None, rests: false, cancel_requested: false }
    }

    /// Reports the state of the record, passes a cancellation on, and waits until the next poll.
    async fn look(&mut self, record: &ReplayRecord) -> Result<(), ReplayError> {
        let RunContext { manager, watcher, cancel, halt } = self.context;
        let JobProgress { stops, report, .. } = progress_of(record)?;
        let progress = report.progress();
        if self.told != Some(progress) {
            self.told = Some(progress);
            watcher.progressed(progress);
        }
        let rests = record.state == ReplayState::Paused;
        if rests && !self.rests && let Some(reason) = &stops.paused_by {
            watcher.stopped(reason);
        }
        if std::mem::replace(&mut self.rests, rests) != rests {
            watcher.rests(rests);
        }
        if cancel.is_cancelled() && !self.cancel_requested {
            self.cancel_requested = true;
            manager.request(&record.id, ReplayCommand::Cancel).await?;
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = cancel.cancelled(), if !self.cancel_requested => {}
            () = halt.cancelled() => {}
        }
        Ok(())
    }
}
