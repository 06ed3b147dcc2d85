//! The record of a run to a target of this process: others see it, and can pause or cancel it. A run whose process ends
//! cannot be taken over by another, for its target is gone with it.

use std::{sync::Arc, time::Duration};

use domain::{
    Cursor, Position,
    ports::{ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate},
};
use tokio::time::Instant;

use crate::{
    backoff::repeated,
    error::ReplayError,
    lease::LeaseRenewer,
    manager::ReplayManager,
    options::ReplayOptions,
    pace::Pace,
    plan::Plan,
    record::{Destination, JobProgress, WrittenPlan, written},
    report::{ReplayReport, ReplayStatus},
    steering::pace_of,
};

/// How often a run notes how far it is.
pub(crate) const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How often a run that waits sees what is wanted of it; one that sends looks before each batch, but no more often than
/// `LOOK_AFTER`.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOK_AFTER: Duration = Duration::from_millis(20);

/// A run's record; where the store cannot be written to, only its id.
pub(crate) struct Recorded {
    pub(crate) id: String,
    kept: Option<Kept>,
}

struct Kept {
    replays: Arc<dyn ReplayStore>,
    renewer: LeaseRenewer,
    progress: JobProgress,
    noted: Instant,
    looked: Instant,
    state: ReplayState,
    planned_pace: Pace,
    pace: Pace,
}

impl Recorded {
    pub(crate) async fn begin(
        manager: &ReplayManager,
        plan: &Plan,
        options: &ReplayOptions,
    ) -> Result<Self, ReplayError> {
        let to = Destination::Target(options.target.clone());
        let plan = WrittenPlan::new(plan, to, options.batch_size, options.pace)?;
        let record = manager.new_record(&plan, ReplayState::Running)?;
        let replays = Arc::clone(manager.replays());
        let kept = match replays.create_replay(&record).await {
            Ok(()) => LeaseRenewer::take(&replays, &record.id, fastrand::u64(..)).await,
            Err(error) => Err(error),
        };
        let renewer = kept.unwrap_or_else(|error| {
            // Reading needs no right to write, so this is no fault.
            tracing::debug!(%error, "the replay continues without a record");
            None
        });
        let kept = renewer.map(|renewer| Kept {
            progress: JobProgress::new(&plan, &record.id),
            noted: Instant::now(),
            looked: Instant::now(),
            state: ReplayState::Running,
            planned_pace: options.pace,
            pace: options.pace,
            replays,
            renewer,
        });
        Ok(Self { id: record.id, kept })
    }

    /// The pace that an operator set, or that of the plan; none where there is no record.
    pub(crate) fn pace(&self) -> Option<Pace> {
        self.kept.as_ref().map(|kept| kept.pace)
    }

    /// An event was answered for.
    pub(crate) fn passed(&mut self, position: Position) {
        if let Some(kept) = &mut self.kept {
            raise(&mut kept.progress.cursor, position);
        }
    }

    /// Notes now and then how far the run is, and at once that it rests or goes on; what is wanted of it.
    pub(crate) async fn note(&mut self, report: &ReplayReport) -> ReplayState {
        let Some(kept) = &mut self.kept else { return ReplayState::Running };
        let looks = kept.looked.elapsed() >= LOOK_AFTER;
        if looks {
            kept.look(&self.id).await;
        }
        let is_noted = kept.is_rest_noted() && kept.state != ReplayState::Planned;
        if kept.noted.elapsed() < NOTE_EVERY && (!looks || is_noted) {
            return kept.state;
        }
        kept.noted = Instant::now();
        kept.progress.report.clone_from(report);
        loop {
            kept.looked = Instant::now();
            kept.progress.resting = (kept.state == ReplayState::Paused).then_some(0);
            match kept.update(ReplayState::Running, Some(kept.progress.cursor.clone())).await {
                // What is wanted may have changed meanwhile: then that is noted before anything else is done.
                Ok(state) => kept.state = state,
                Err(error) => {
                    tracing::warn!(%error, replay = %self.id, "the replay's progress was not noted");
                    if error == ReplayStoreError::Fenced {
                        self.kept = None;
                        return ReplayState::Running;
                    }
                    return kept.state;
                }
            }
            if kept.is_rest_noted() {
                return kept.state;
            }
        }
    }

    /// The run is over.
    pub(crate) async fn end(&mut self, report: &ReplayReport) {
        let Some(mut kept) = self.kept.take() else { return };
        kept.progress.report.clone_from(report);
        let state = match report.status {
            ReplayStatus::Completed => ReplayState::Completed,
            ReplayStatus::Cancelled => ReplayState::Cancelled,
            ReplayStatus::Failed => ReplayState::Failed,
        };
        if let Err(error) = kept.update(state, None).await {
            tracing::warn!(%error, replay = %self.id, "the replay's end was not noted");
        }
    }
}

impl Kept {
    /// Whether the record says whether the run rests.
    fn is_rest_noted(&self) -> bool {
        (self.state == ReplayState::Paused) == self.progress.resting.is_some()
    }

    /// Sees what is wanted of the run. A store that does not say it leaves the run as it is.
    async fn look(&mut self, id: &str) {
        self.looked = Instant::now();
        match self.replays.find_replay(id).await {
            Ok(Some(record)) if !record.state.is_final() => {
                self.state = record.state;
                match pace_of(&record, self.planned_pace) {
                    Ok(pace) => self.pace = pace,
                    Err(error) => tracing::warn!(%error, "the pace of the replay stays as it is"),
                }
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, replay = %id, "it cannot be told what is wanted of the replay");
            }
        }
    }

    async fn update(
        &self,
        state: ReplayState,
        hold: Option<Cursor>,
    ) -> Result<ReplayState, ReplayStoreError> {
        // What cannot be written as JSON does not get this far: the first progress was written when the run began.
        let progress = written(&self.progress).unwrap_or_default();
        let update = ReplayUpdate { state, progress, hold, settled_batches: 0 };
        repeated(|| self.replays.update_replay(self.renewer.lease(), &update)).await
    }
}

/// Moves a cursor on to an event that follows it.
pub(crate) fn raise(cursor: &mut Cursor, position: Position) {
    if let Some(reached) = cursor.sequences.get_mut(usize::from(position.partition)) {
        *reached = position.sequence;
    }
}
