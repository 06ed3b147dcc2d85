//! The record of a run to a target in this process. Other processes can read it, and can pause or cancel the run. They
//! cannot continue the run after this process ends, because its target ends with the process.

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

/// The interval at which a run records its progress.
pub(crate) const NOTE_EVERY: Duration = Duration::from_secs(1);
/// The interval at which a waiting run checks for commands. A sending run checks before each batch, but at most once
/// per `LOOK_AFTER`.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOK_AFTER: Duration = Duration::from_millis(20);

/// The record of a run. If the store cannot be written, it has only an id.
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
            // A caller with read permission only may run a replay, so this is not a failure.
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

    /// Records that the target answered for an event.
    pub(crate) fn passed(&mut self, position: Position) {
        if let Some(kept) = &mut self.kept {
            raise(&mut kept.progress.cursor, position);
        }
    }

    /// Records the progress at intervals, and a pause or a resumption at once. Returns the requested state of the run.
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
                // The requested state may have changed meanwhile. The loop records that change first.
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

    /// Records the end of the run.
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
    /// Returns whether the record shows correctly if the run is paused.
    fn is_rest_noted(&self) -> bool {
        (self.state == ReplayState::Paused) == self.progress.resting.is_some()
    }

    /// Reads the requested state of the run. If the store does not answer, the state stays.
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
        // Serialization cannot fail here. The first progress was serialized when the run began.
        let progress = written(&self.progress).unwrap_or_default();
        let update = ReplayUpdate { state, progress, hold, settled_batches: 0 };
        repeated(|| self.replays.update_replay(self.renewer.lease(), &update)).await
    }
}

/// Moves a cursor to a later event.
pub(crate) fn raise(cursor: &mut Cursor, position: Position) {
    if let Some(reached) = cursor.sequences.get_mut(usize::from(position.partition)) {
        *reached = position.sequence;
    }
}
