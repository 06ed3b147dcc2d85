//! The work of one runner on a replay: from the place of the last runner, while it holds the lease.
//!
//! # Design
//! Only the record and the lanes (the replay queues of segments) hold the progress of a replay. So a runner may be
//! killed at any moment. The next runner reads the events after the settled batches again and cuts the same batches. It
//! queues all batches again that may already be queued, and a segment accepts each batch once. Batches are settled in
//! order. One step moves their results from the store to the report, and moves the cursor of the replay.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use domain::{
    Cursor,
    ports::{
        EnqueueOutcome, GroupStore, GroupStoreError, ReplayCommand, ReplayRecord, ReplayState,
        ReplayStoreError, ReplayUpdate,
    },
};
use tokio::time::Instant;

use crate::{
    backoff::repeated,
    cancel::Cancel,
    counts::Counter,
    error::ReplayError,
    job::{
        Stop,
        batch::{Batch, Part},
        source::Source,
        window::Window,
    },
    lease::LeaseRenewer,
    manager::ReplayManager,
    options::ReplayWatcher,
    pace::{Pace, Pacer},
    pages::{Pages, ReadAhead},
    record::{JobProgress, TargetGroup, WrittenPlan, progress_of, written},
    report::{GroupResult, ReplayReport, ReplayStatus},
    segments::SegmentChecker,
    steering::{AutoPause, Stops, pace_of},
};

/// The number of batches to cut ahead, so that several cuts need only one write.
const CUT_AHEAD: usize = 16;
/// The interval at which a runner reads the record for commands, when no write has returned the state.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// The pause before a batch is sent to a full lane again.
const FULL_AGAIN: Duration = Duration::from_millis(50);
/// The shortest and the longest pause between two reads of results.
pub(super) const FIRST_POLL: Duration = Duration::from_millis(10);
pub(super) const LAST_POLL: Duration = Duration::from_millis(250);

/// The surroundings of a runner: its manager, its watcher, and its two ways to end.
#[derive(Clone, Copy)]
pub(crate) struct RunContext<'a> {
    pub(crate) manager: &'a ReplayManager,
    pub(crate) watcher: &'a dyn ReplayWatcher,
    /// Cancels the replay.
    pub(crate) cancel: &'a Cancel,
    /// Stops the runner, and leaves the replay to other runners.
    pub(crate) halt: &'a Cancel,
}

pub(crate) struct Work<'a> {
    pub(super) context: RunContext<'a>,
    pub(super) store: &'a dyn GroupStore,
    pub(super) renewer: &'a LeaseRenewer,
    pub(super) groups: Arc<[TargetGroup]>,
    /// Events of a batch at most, as the plan has it; the pace may make batches smaller.
    most: usize,
    batch_size: usize,
    stops: Stops,
    planned_pace: Pace,
    pub(super) progress: JobProgress,
    pub(super) checker: SegmentChecker<'a>,
    pub(super) source: Source,
    /// The batch that is being put into its lanes.
    pub(super) sending: Option<Batch>,
    /// The batches that are in their lanes or have all results.
    pub(super) outstanding: VecDeque<Batch>,
    pub(super) window: Window,
    pacer: Pacer,
    pub(super) counter: Counter,
    state: ReplayState,
    cancel_requested: bool,
    pub(super) due: Due,
    started: Instant,
    ran_before: u64,
}

/// The times of the next actions.
pub(super) struct Due {
    commands: Instant,
    send: Instant,
    pub(super) poll: Instant,
    pub(super) poll_pause: Duration,
    pub(super) groups: Instant,
}

impl Due {
    fn now() -> Self {
        let now = Instant::now();
        Self { commands: now, send: now, poll: now, poll_pause: FIRST_POLL, groups: now }
    }
}

/// The ways in which the work ends.
enum End {
    Complete,
    Cancelled,
}

impl<'a> Work<'a> {
    /// Continues the replay at the place in its record.
    pub(crate) async fn begin(
        context: RunContext<'a>,
        renewer: &'a LeaseRenewer,
        record: &ReplayRecord,
        plan: &'a WrittenPlan,
    ) -> Result<Self, Stop> {
        let manager = context.manager;
        let compile = manager.compile();
        let none = |_: &str| Err("this program knows no conditions".to_owned());
        let filter = plan.compiled(compile.unwrap_or(&none))?;
        let mut progress = progress_of(record)?;
        let pages = |after: &Cursor, until: &Cursor| {
            let filter = Arc::clone(&filter);
            Pages::new(Arc::clone(manager.events()), filter, Some(after.clone()), until.clone())
        };
        let checker = {
            let before = progress.checked.segment.checked_sub(1).and_then(|at| plan.segments.get(at));
            let start = before.map_or_else(|| plan.start(), |segment| segment.cursor.clone());
            let ids = match progress.checked.count {
                0 => Vec::new(),
                _ => ids(pages(&start, &progress.cursor)).await?,
            };
            SegmentChecker::resume(&plan.segments, progress.checked, ids.iter().map(String::as_str))
        };
        let end = plan.segments.last().map(|segment| &segment.cursor);
        let ahead = ReadAhead::new(end.map(|end| pages(&progress.cursor, end)));
        let groups: Arc<[TargetGroup]> = plan.groups().into();
        let (cursor, cuts) = (progress.cursor.clone(), progress.cuts.clone());
        let pace = pace_of(record, plan.pace)?;
        let batch_size = pace.batch(plan.batch_size);
        let source = Source::new(ahead, Arc::clone(&groups), batch_size, cursor, progress.settled, cuts);
        let mut pacer = Pacer::new(pace);
        if !progress.cuts.is_empty() || progress.settled > 0 {
            // Another runner may have sent a batch a moment ago.
            pacer.sending(batch_size);
            pacer.done();
        }
        if progress.report.groups.is_empty() {
            progress.report.groups = groups.iter().map(|group| GroupResult::new(&group.spec.name)).collect();
        }
        Ok(Self {
            context,
            store: &**manager.groups()?,
            renewer,
            groups,
            most: plan.batch_size,
            batch_size,
            stops: plan.stops(),
            planned_pace: plan.pace,
            ran_before: progress.report.duration_ms,
            progress,
            checker,
            source,
            sending: None,
            outstanding: VecDeque::new(),
            window: Window::default(),
            pacer,
            counter: Counter::default(),
            state: record.state,
            cancel_requested: false,
            due: Due::now(),
            started: Instant::now(),
        })
    }

    /// Works until the replay is finished.
    pub(crate) async fn run(mut self) -> Result<ReplayReport, Stop> {
        let end = match self.drive().await {
            Ok(End::Cancelled) => self.wind_down().await.map(|()| End::Cancelled),
            end => end,
        };
        match end {
            Ok(End::Complete) => {
                self.progress.report.corrupt += self.source.corrupt_at_the_end();
                std::mem::replace(&mut self.checker, SegmentChecker::new(&[]))
                    .finish(&mut self.progress.report);
                self.finish(ReplayState::Completed, None).await
            }
            Ok(End::Cancelled) => {
                self.finish(ReplayState::Cancelled, Some("it was asked to end".to_owned())).await
            }
            Err(Stop::Failed(why)) => {
                repeated(|| self.store.withdraw(self.id())).await?;
                self.finish(ReplayState::Failed, Some(why)).await
            }
            Err(stop) => Err(stop),
        }
    }

    pub(super) fn id(&self) -> &'a str {
        &self.renewer.lease().replay_id
    }

    async fn drive(&mut self) -> Result<End, Stop> {
        loop {
            self.poll_commands().await?;
            if self.state == ReplayState::Cancelling {
                return Ok(End::Cancelled);
            }
            self.resume_in_flight();
            self.note_rest().await?;
            let mut busy = self.settle().await?;
            if self.source.is_empty() && self.sending.is_none() && self.outstanding.is_empty() {
                return Ok(End::Complete);
            }
            if self.state != ReplayState::Paused {
                busy |= match self.due_pause() {
                    Some(reason) => self.pause(reason).await?,
                    None => self.send().await?,
                };
            }
            if busy {
                tokio::task::yield_now().await;
            } else {
                self.rest().await?;
            }
        }
    }

    /// Polls for commands to the replay, and for the end of this runner.
    async fn poll_commands(&mut self) -> Result<(), Stop> {
        let RunContext { manager, cancel, halt, .. } = self.context;
        if halt.is_cancelled() {
            return Err(Stop::Halted);
        }
        if self.renewer.is_lost() {
            return Err(Stop::Lost);
        }
        if cancel.is_cancelled() && !self.cancel_requested {
            self.cancel_requested = true;
            self.state = manager.request(self.id(), ReplayCommand::Cancel).await?;
        } else if Instant::now() >= self.due.commands {
            self.due.commands = Instant::now() + POLL_EVERY;
            let record = manager.record(self.id()).await?;
            self.state = record.state;
            self.set_pace(pace_of(&record, self.planned_pace)?);
        }
        match self.state {
            state if state.is_final() => Err(Stop::Lost),
            ReplayState::Planned => self.write().await,
            _ => Ok(()),
        }
    }

    /// Takes a pace that an operator has set.
    fn set_pace(&mut self, pace: Pace) {
        if pace != self.pacer.pace() {
            self.batch_size = pace.batch(self.most);
            self.source.set_batch_size(self.batch_size);
            self.pacer.set(pace, self.batch_size);
        }
    }

    /// The reason to pause now, if there is one.
    fn due_pause(&self) -> Option<AutoPause> {
        let is_drained = self.source.is_drained() && self.sending.is_none() && self.outstanding.is_empty();
        self.stops.due(&self.progress.stops, &self.progress.report, is_drained)
    }

    /// Pauses the replay until an operator resumes it. Returns true: there was something to do.
    async fn pause(&mut self, reason: AutoPause) -> Result<bool, Stop> {
        self.context.watcher.stopped(&reason);
        self.context.watcher.rests(true);
        self.progress.stops.paused_by = Some(reason);
        // A resumption is then seen even if it comes before the next read of the record.
        self.progress.resting = Some(self.with_groups());
        let hold = Some(self.progress.cursor.clone());
        self.state = self.update(ReplayState::Paused, hold).await?;
        self.source.wrote();
        Ok(true)
    }

    /// Events that are with the groups.
    fn with_groups(&self) -> u64 {
        self.outstanding.iter().chain(&self.sending).map(Batch::with_groups).sum()
    }

    /// Records a pause or a resumption at once, with the number of events that the groups have during the pause.
    async fn note_rest(&mut self) -> Result<(), Stop> {
        let rests = self.state == ReplayState::Paused;
        let resting: Option<u64> = rests.then(|| self.with_groups());
        if self.progress.resting == resting {
            return Ok(());
        }
        if self.progress.resting.is_some() != rests {
            self.context.watcher.rests(rests);
            if !rests {
                self.progress.stops.resumed(&self.progress.report);
            }
        }
        self.progress.resting = resting;
        self.write().await
    }

    /// Waits until the next action is due.
    async fn rest(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        let mut until = self.due.commands.max(now);
        if !self.outstanding.is_empty() {
            until = until.min(self.due.poll);
        }
        if self.sending.is_some() {
            until = until.min(self.due.send);
        } else if let Some(turn) = self.pacer.next().filter(|turn| *turn > now) {
            until = until.min(turn);
        }
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            read = self.source.read(), if self.source.wants_more() => read?,
            () = self.context.cancel.cancelled(), if !self.cancel_requested => {}
            () = self.context.halt.cancelled() => {}
        }
        Ok(())
    }

    /// Takes over the batches that another runner has put into their lanes.
    fn resume_in_flight(&mut self) {
        while self.source.next_number() < self.progress.queued
            && let Some(mut batch) = self.source.take()
        {
            batch.decide(|_| Some(Part::Waiting));
            batch.is_to_poll = true;
            self.outstanding.push_back(batch);
        }
    }

    /// Puts the next batch into its lanes if its turn has come. Returns whether it did any work.
    async fn send(&mut self) -> Result<bool, Stop> {
        if self.sending.is_none() && !self.take().await? {
            return Ok(false);
        }
        if Instant::now() < self.due.send {
            return Ok(false);
        }
        self.enqueue().await
    }

    /// Takes the next batch to send. Returns whether there is one.
    async fn take(&mut self) -> Result<bool, Stop> {
        let window = self.window.batches(self.batch_size);
        let is_early = self.pacer.next().is_some_and(|turn| turn > Instant::now());
        if self.outstanding.len() >= window || is_early || self.source.next_number() < self.progress.queued {
            return Ok(false);
        }
        let cut_again = self.source.drop_old_cuts();
        self.progress.stops.cut = self.progress.stops.cut.saturating_sub(cut_again);
        if !self.source.is_written() {
            let cut = self.source.cut(CUT_AHEAD, self.stops.allowed(&self.progress.stops));
            if cut == 0 {
                return Ok(false);
            }
            self.progress.stops.cut += cut;
            self.write().await?;
        }
        self.sending = self.source.take();
        if let Some(batch) = self.sending.as_mut().filter(|batch| batch.events.is_empty()) {
            // Another runner cut this batch and may have sent it. Since then all of its events were erased.
            batch.is_to_poll = true;
        }
        self.due.send = Instant::now();
        Ok(self.sending.is_some())
    }

    /// Puts the unsent parts of the current batch into their lanes.
    async fn enqueue(&mut self) -> Result<bool, Stop> {
        self.look_for_groups().await?;
        let Some(mut batch) = self.sending.take() else { return Ok(false) };
        batch.decide(|(group, _)| self.is_deleted(group).then_some(Part::Deleted));
        let (lanes, new): (Vec<_>, Vec<_>) = batch.unsent(self.id(), &self.groups).into_iter().unzip();
        if !new.is_empty() {
            let lease = Some(self.renewer.lease());
            let outcomes = repeated(|| self.store.enqueue(lease, &new)).await?;
            if outcomes.iter().any(|outcome| *outcome != EnqueueOutcome::Full) {
                self.pacer.sending(batch.events.len());
                self.pacer.done();
            }
            for (lane, outcome) in lanes.into_iter().zip(outcomes) {
                match outcome {
                    EnqueueOutcome::Queued | EnqueueOutcome::AlreadyQueued => batch.set(lane, Part::Waiting),
                    EnqueueOutcome::Full => {}
                    EnqueueOutcome::NoGroup => batch.set(lane, Part::Deleted),
                }
            }
        }
        if batch.has_unsent() {
            self.due.send = Instant::now() + FULL_AGAIN;
            self.sending = Some(batch);
        } else {
            self.outstanding.push_back(batch);
        }
        Ok(true)
    }

    /// Stores the progress of the replay.
    pub(super) async fn write(&mut self) -> Result<(), Stop> {
        let hold = Some(self.progress.cursor.clone());
        self.state = self.update(ReplayState::Running, hold).await?;
        self.source.wrote();
        self.due.commands = Instant::now() + POLL_EVERY;
        Ok(())
    }

    async fn update(&mut self, state: ReplayState, hold: Option<Cursor>) -> Result<ReplayState, Stop> {
        let in_hand = self.outstanding.iter().chain(&self.sending).map(|batch| &batch.through);
        self.progress.cuts = in_hand.chain(self.source.cuts()).cloned().collect();
        let queued = self.sending.as_ref().map_or(self.source.next_number(), |batch| batch.number);
        self.progress.queued = self.progress.queued.max(queued);
        let ran = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.report.duration_ms = self.ran_before.saturating_add(ran);
        self.progress.checked = self.checker.checked();
        let progress = written(&self.progress)?;
        let update = ReplayUpdate { state, progress, hold, settled_batches: self.progress.settled };
        let replays = self.context.manager.replays();
        Ok(repeated(|| replays.update_replay(self.renewer.lease(), &update)).await?)
    }

    async fn finish(mut self, state: ReplayState, ended: Option<String>) -> Result<ReplayReport, Stop> {
        let report = &mut self.progress.report;
        (report.status, report.remaining) = match state {
            ReplayState::Completed => (ReplayStatus::Completed, 0),
            ReplayState::Cancelled => (ReplayStatus::Cancelled, report.not_come_to()),
            _ => (ReplayStatus::Failed, report.not_come_to()),
        };
        report.ended = ended;
        self.update(state, None).await?;
        self.context.watcher.progressed(self.progress.report.progress());
        Ok(self.progress.report)
    }
}

/// Returns the ids of a slice of the log, which is at most one segment of a plan.
async fn ids(mut pages: Pages) -> Result<Vec<String>, Stop> {
    let mut ids = Vec::new();
    while let Some(page) = pages.next(None).await? {
        ids.extend(page.events.iter().map(|stored| stored.event.id().to_owned()));
    }
    Ok(ids)
}

impl From<ReplayStoreError> for Stop {
    fn from(error: ReplayStoreError) -> Self {
        match error {
            ReplayStoreError::Fenced => Self::Lost,
            error => Self::Error(error.into()),
        }
    }
}

impl From<GroupStoreError> for Stop {
    fn from(error: GroupStoreError) -> Self {
        match error {
            GroupStoreError::RunnerFenced => Self::Lost,
            error => Self::Error(error.into()),
        }
    }
}

impl From<ReplayError> for Stop {
    fn from(error: ReplayError) -> Self {
        Self::Error(error)
    }
}
