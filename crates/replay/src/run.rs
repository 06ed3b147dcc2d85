//! Running a plan: exactly its set, in log order, a batch at a time.
//!
//! # Design
//! A task reads ahead by one page while the target works, so that neither waits for the other, and memory holds three
//! pages at most. A run reads up to the plan's last event, not up to its limit: were events erased since, a limit would
//! let in others that nobody has planned. What is gone shows when the pieces of the plan are compared with what was sent.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use domain::{
    Position, Retry, StoredEvent,
    ports::{DeliveryOutcome, EventStoreError, ReplayDelivery, ReplayTarget, TargetError},
};
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use uuid::Uuid;

use crate::{
    backoff::pauses,
    error::ReplayError,
    manager::ReplayManager,
    options::{ReplayOptions, ReplayProgress, ReplayWatcher},
    pace::Pacer,
    pages::Pages,
    plan::Plan,
    report::{ReplayErrorEntry, ReplayReport, ReplayStatus},
    segments::SegmentChecker,
};

/// Events of one batch, whatever was asked for: a batch is held in memory.
const MOST_AT_ONCE: usize = 100_000;

/// How often raising replay counts is tried again, until it has failed for good once.
const COUNT_RETRIES: usize = 3;

/// What the reading task hands over.
struct Fetched {
    events: Vec<StoredEvent>,
    corrupt: u64,
}

/// What came of a batch.
enum Sent {
    /// The target answered for every event.
    Answered(Vec<DeliveryOutcome>),
    /// The run was asked to end before the batch was with the target.
    Cancelled,
    /// The reader wants no more.
    Closed,
    /// The target failed for good.
    GivenUp(String),
}

/// Why a run goes no further.
enum End {
    Complete,
    Cancelled(String),
    Failed(String),
    Interrupted(EventStoreError),
}

pub(crate) struct Run<'a> {
    manager: &'a ReplayManager,
    plan: &'a Plan,
    target: &'a mut dyn ReplayTarget,
    options: &'a ReplayOptions,
    watcher: &'a dyn ReplayWatcher,
    report: ReplayReport,
    checker: SegmentChecker<'a>,
    pacer: Pacer,
    pages: mpsc::Receiver<Result<Fetched, EventStoreError>>,
    queue: VecDeque<StoredEvent>,
    count_retries: usize,
    /// Ends the reading task when the run is dropped.
    _reader: JoinSet<()>,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        manager: &'a ReplayManager,
        plan: &'a Plan,
        target: &'a mut dyn ReplayTarget,
        options: &'a ReplayOptions,
        watcher: &'a dyn ReplayWatcher,
    ) -> Self {
        let (sender, pages) = mpsc::channel(1);
        let mut reader = JoinSet::new();
        if let Some(end) = plan.end() {
            let filter = Arc::clone(&plan.filter);
            let slice = Pages::new(Arc::clone(manager.events()), filter, plan.after.clone(), end.clone());
            reader.spawn(read_ahead(slice, sender));
        }
        let replay_id = Uuid::now_v7().to_string();
        Self {
            report: ReplayReport::new(replay_id, plan.total_events, plan.plan_hash.clone()),
            checker: SegmentChecker::new(&plan.segments),
            pacer: Pacer::new(options.pace),
            queue: VecDeque::new(),
            count_retries: COUNT_RETRIES,
            _reader: reader,
            manager,
            plan,
            target,
            options,
            watcher,
            pages,
        }
    }

    pub(crate) async fn execute(mut self) -> Result<ReplayReport, ReplayError> {
        let started = Instant::now();
        let end = self.send_all().await;
        let mut report = self.report;
        if matches!(end, End::Complete) {
            self.checker.finish(&mut report);
        }
        report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        report.remaining = match end {
            End::Complete => 0,
            _ => report.total_events.saturating_sub(report.done() + report.missing),
        };
        match end {
            End::Complete => {}
            End::Cancelled(why) => (report.status, report.ended) = (ReplayStatus::Cancelled, Some(why)),
            End::Failed(why) => (report.status, report.ended) = (ReplayStatus::Failed, Some(why)),
            End::Interrupted(error) => {
                (report.status, report.ended) = (ReplayStatus::Failed, Some(error.to_string()));
                return Err(ReplayError::Interrupted { error, report: Box::new(report) });
            }
        }
        Ok(report)
    }

    async fn send_all(&mut self) -> End {
        let cancelled = || End::Cancelled("it was asked to end".to_owned());
        loop {
            match self.fill().await {
                Ok(true) => {}
                Ok(false) => return cancelled(),
                Err(error) => return End::Interrupted(error),
            }
            if self.queue.is_empty() {
                return End::Complete;
            }
            if !self.wait_for_turn().await {
                return cancelled();
            }
            let batch = self.next_batch();
            match self.deliver(&batch).await {
                Sent::Answered(outcomes) => self.answered(&batch, outcomes).await,
                Sent::Cancelled => return cancelled(),
                Sent::Closed => return End::Cancelled(TargetError::Closed.to_string()),
                Sent::GivenUp(why) => {
                    self.given_up(&batch, &why);
                    return End::Failed(why);
                }
            }
        }
    }

    /// Fetches until a whole batch is there, or all there is. False when the run was asked to end.
    async fn fill(&mut self) -> Result<bool, EventStoreError> {
        let cancel = &self.options.cancel;
        while !cancel.is_cancelled() && self.queue.len() < self.options.batch_size.min(MOST_AT_ONCE) {
            let fetched = tokio::select! {
                fetched = self.pages.recv() => fetched,
                () = cancel.cancelled() => break,
            };
            let Some(fetched) = fetched else { break };
            let Fetched { events, corrupt } = fetched?;
            self.report.corrupt += corrupt;
            self.queue.extend(events);
        }
        Ok(!cancel.is_cancelled())
    }

    /// Waits as the pace demands. False when the run was asked to end.
    async fn wait_for_turn(&self) -> bool {
        let Some(turn) = self.pacer.next() else { return true };
        tokio::select! {
            () = tokio::time::sleep_until(turn) => !self.options.cancel.is_cancelled(),
            () = self.options.cancel.cancelled() => false,
        }
    }

    fn next_batch(&mut self) -> Vec<ReplayDelivery> {
        let size = self.options.batch_size.min(MOST_AT_ONCE).min(self.queue.len());
        let (replay_id, now) = (&self.report.replay_id, self.manager.clock().now());
        self.queue
            .drain(..size)
            .map(|stored| ReplayDelivery { stored, replay_id: replay_id.clone(), replay_timestamp: now })
            .collect()
    }

    /// Hands a batch over, and again while the target cannot be reached.
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Sent {
        let mut pauses = pauses(self.options.max_retries as usize);
        loop {
            self.pacer.sending(batch.len());
            let answer = self.target.deliver(batch).await;
            self.pacer.done();
            let error = match answer {
                Ok(outcomes) if outcomes.len() == batch.len() => return Sent::Answered(outcomes),
                Ok(outcomes) => {
                    let (answered, asked) = (outcomes.len(), batch.len());
                    return Sent::GivenUp(format!(
                        "the target answered {answered} outcomes to {asked} events"
                    ));
                }
                Err(TargetError::Closed) => return Sent::Closed,
                Err(error) => error,
            };
            let pause = pauses.next().filter(|_| error.retry() != Retry::Never);
            let Some(pause) = pause else { return Sent::GivenUp(error.to_string()) };
            tracing::warn!(%error, ?pause, "a batch is tried again");
            if !(self.pause(pause).await && self.wait_for_turn().await) {
                return Sent::Cancelled;
            }
        }
    }

    /// False when the run was asked to end.
    async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.options.cancel.cancelled() => false,
        }
    }

    async fn answered(&mut self, batch: &[ReplayDelivery], outcomes: Vec<DeliveryOutcome>) {
        let mut delivered = Vec::with_capacity(batch.len());
        for (delivery, outcome) in batch.iter().zip(outcomes) {
            self.checker.sent(&delivery.stored, &mut self.report);
            match outcome {
                DeliveryOutcome::Handled => self.report.successful_replays += 1,
                DeliveryOutcome::Skipped => {
                    self.report.skipped_events += 1;
                    continue;
                }
                DeliveryOutcome::Failed(why) => self.failed(delivery, why),
            }
            delivered.push(delivery.stored.position);
        }
        self.count(&delivered).await;
        self.tell();
    }

    fn given_up(&mut self, batch: &[ReplayDelivery], why: &str) {
        for delivery in batch {
            self.checker.sent(&delivery.stored, &mut self.report);
            self.failed(delivery, why.to_owned());
        }
        self.tell();
    }

    fn failed(&mut self, delivery: &ReplayDelivery, error: String) {
        self.report.failed_replays += 1;
        let event = &delivery.stored.event;
        let (event_id, event_type) = (event.id().to_owned(), event.event_type().to_owned());
        let timestamp = self.manager.clock().now();
        self.report.add_error(ReplayErrorEntry { event_id, event_type, error, timestamp });
    }

    /// Raises the replay counts. A store that cannot be written to does not keep history from its readers: what could
    /// not be counted is reported. After a lost answer it is not tried again, which could count twice.
    async fn count(&mut self, positions: &[Position]) {
        if positions.is_empty() {
            return;
        }
        let mut pauses = pauses(self.count_retries);
        loop {
            let counted = self.manager.replays().record_replayed(positions, self.manager.clock().now()).await;
            let Err(error) = counted else { return };
            match pauses.next().filter(|_| error.retry() == Retry::Later) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    tracing::warn!(%error, events = positions.len(), "replay counts were not raised");
                    self.report.uncounted += positions.len() as u64;
                    self.count_retries = 0;
                    return;
                }
            }
        }
    }

    fn tell(&self) {
        self.watcher.progressed(ReplayProgress {
            total: self.plan.total_events,
            successful: self.report.successful_replays,
            failed: self.report.failed_replays,
            skipped: self.report.skipped_events,
        });
    }
}

async fn read_ahead(mut pages: Pages, sender: mpsc::Sender<Result<Fetched, EventStoreError>>) {
    loop {
        let fetched = match pages.next(None).await {
            Ok(Some(page)) => Ok(Fetched { corrupt: page.corrupt.len() as u64, events: page.events }),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        let failed = fetched.is_err();
        // A closed channel: the run has ended.
        if sender.send(fetched).await.is_err() || failed {
            return;
        }
    }
}
