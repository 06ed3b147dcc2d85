//! Runs a replay into consumer groups. The process that holds the lease runs it, and other processes can watch it.

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
    report::{ReplayReport, ReplayStatus},
    span::{LEFT, ReplaySpan, outcome_of},
};
use domain::{
    Retry,
    ports::{EventStoreError, ReplayCommand, ReplayRecord, ReplayState, ReplayUpdate},
};
use work::{RunContext, Work};

/// The interval at which a watcher reads a replay's progress.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The reason for which a runner stops.
pub(crate) enum Stop {
    /// Another runner has the replay, or may have had it.
    Lost,
    /// This process ends.
    Halted,
    /// No runner can continue the replay.
    Failed(String),
    /// This runner cannot continue now. The replay stays unfinished.
    Error(ReplayError),
}

impl From<EventStoreError> for Stop {
    /// A permanent error of the log fails the replay. After a temporary error another attempt can continue it.
    fn from(error: EventStoreError) -> Self {
        match error.retry() {
            Retry::Never => Self::Failed(error.to_string()),
            _ => Self::Error(error.into()),
        }
    }
}

/// Returns the outcome of a runner's attempt, for its span.
fn outcome(attempt: &Result<ReplayReport, Stop>) -> &'static str {
    match attempt {
        Ok(report) => outcome_of(report.status),
        Err(Stop::Failed(_)) => outcome_of(ReplayStatus::Failed),
        Err(Stop::Lost | Stop::Halted | Stop::Error(_)) => LEFT,
    }
}

/// Runs replays that [`ReplayManager::start_group_replay`] made.
///
/// Several runners may be asked to run the same replay. Only one of them runs it. When that runner is killed, another
/// continues from the same place within ten seconds. The change of runner delivers no event twice. The replay counts of
/// a batch rise before the batch is settled, so the counts of the current batches may rise twice.
#[derive(Debug, Clone)]
pub struct JobRunner {
    manager: ReplayManager,
}

impl JobRunner {
    /// Creates a runner over a manager with groups.
    pub fn new(manager: ReplayManager) -> Self {
        Self { manager }
    }

    /// Runs a replay until it is finished, or waits while another runner runs it. A cancellation cancels the replay,
    /// and waits for the events that consumers received. If the call is dropped, the replay is left to other runners.
    ///
    /// # Errors
    /// Returns [`ReplayError::UnknownReplay`] when the replay does not exist. Returns an error when the store fails,
    /// and another attempt can then continue the replay. A failed or cancelled replay is no error, and its report says
    /// so.
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

    /// Runs a replay until it is finished, or until this process ends.
    pub(crate) async fn run_for_host(&self, id: &str, stop: &Cancel) -> Result<(), ReplayError> {
        let never = Cancel::default();
        let context = RunContext { manager: &self.manager, watcher: &(), cancel: &never, halt: stop };
        self.run_until(id, context).await.map(|_| ())
    }

    /// Runs a replay until it is finished, and returns the report. Returns none when the context's `halt` is cancelled
    /// first.
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
        // The record is read again under the lease, because an earlier read may be outdated.
        let record = self.manager.record(&renewer.lease().replay_id).await?;
        let plan = plan_of(&record)?;
        if let Destination::Target(_) = &plan.to {
            return Err(Stop::Failed("the process that ran it ended before it was through".to_owned()));
        }
        let work = async { Work::begin(context, renewer, &record, &plan).await?.run().await };
        ReplaySpan::of(&record.id, &plan).around(Box::pin(work), outcome).await
    }

    /// Returns whether the replay is a run to a target in another process, which may not have leased it yet.
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
    /// Watches a replay of another process until it is finished. Returns none when `stop` is cancelled first. The
    /// replay then continues.
    ///
    /// # Errors
    /// Returns [`ReplayError::UnknownReplay`] when the replay does not exist, or an error when the store fails.
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

/// Reports a replay of another runner to a watcher.
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
        if rests
            && !self.rests
            && let Some(reason) = &stops.paused_by
        {
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
