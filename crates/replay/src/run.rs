//! Runs a plan: sends exactly its set, in log order, one batch at a time.
//!
//! # Design
//! A task reads one page ahead while the target works, so that neither waits for the other. Memory holds at most three
//! pages. A run reads up to the plan's last event, not up to its number of events. After an erasure, a number would
//! admit events that were not planned. Missing events show when the segments of the plan are compared with the sent
//! events.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use domain::{
    Retry, StoredEvent,
    ports::{DeliveryOutcome, EventStoreError, ReplayDelivery, ReplayState, ReplayTarget, TargetError},
    stats::{REPLAY_FAILED, REPLAY_HANDLED, REPLAY_SKIPPED},
};
use tokio::time::Instant;

use crate::{
    backoff::pauses,
    counts::Counter,
    error::ReplayError,
    manager::ReplayManager,
    options::{ReplayOptions, ReplayWatcher},
    pace::Pacer,
    pages::{Pages, ReadAhead},
    plan::Plan,
    recorded::{LOOK_EVERY, Recorded},
    report::{ReplayErrorEntry, ReplayReport, ReplayStatus},
    segments::SegmentChecker,
    steering::{StopState, Stops},
};

/// The most events of one batch, also with a higher option, because a batch is held in memory.
const MOST_AT_ONCE: usize = 100_000;

/// The result of a batch.
enum Sent {
    /// The target answered for every event.
    Answered(Vec<DeliveryOutcome>),
    /// The run was cancelled before the target received the batch.
    Cancelled,
    /// The target is closed.
    Closed,
    /// The target failed permanently.
    GivenUp(String),
    /// The target was unavailable. The events of the batch that it had not settled remain.
    Unreachable(String),
}

/// The reason for which a run ends.
enum End {
    Complete,
    Cancelled(String),
    Failed(String),
    Interrupted(EventStoreError),
}

pub(crate) struct Run<'a> {
    manager: &'a ReplayManager,
    target: &'a mut dyn ReplayTarget,
    options: &'a ReplayOptions,
    watcher: &'a dyn ReplayWatcher,
    report: ReplayReport,
    checker: SegmentChecker<'a>,
    pacer: Pacer,
    pages: ReadAhead,
    queue: VecDeque<StoredEvent>,
    counter: Counter,
    recorded: Recorded,
    stops: Stops,
    /// Events that may still be sent in this turn of the pace.
    turn: usize,
    rests: bool,
}

impl<'a> Run<'a> {
    pub(crate) fn new(
        manager: &'a ReplayManager,
        plan: &'a Plan,
        target: &'a mut dyn ReplayTarget,
        options: &'a ReplayOptions,
        watcher: &'a dyn ReplayWatcher,
        recorded: Recorded,
    ) -> Self {
        let slice = plan.end().map(|end| {
            let filter = Arc::clone(&plan.filter);
            Pages::new(Arc::clone(manager.events()), filter, plan.after.clone(), end.clone())
        });
        Self {
            report: ReplayReport::new(recorded.id.clone(), plan.total_events, plan.plan_hash.clone()),
            checker: SegmentChecker::new(&plan.segments),
            pacer: Pacer::new(options.pace),
            pages: ReadAhead::new(slice),
            queue: VecDeque::new(),
            counter: Counter::default(),
            manager,
            target,
            options,
            watcher,
            recorded,
            stops: Stops { ramp: Vec::new(), limit: options.failure_limit },
            turn: 0,
            rests: false,
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
            _ => report.not_come_to(),
        };
        (report.status, report.ended) = match &end {
            End::Complete => (ReplayStatus::Completed, None),
            End::Cancelled(why) => (ReplayStatus::Cancelled, Some(why.clone())),
            End::Failed(why) => (ReplayStatus::Failed, Some(why.clone())),
            End::Interrupted(error) => (ReplayStatus::Failed, Some(error.to_string())),
        };
        self.recorded.end(&report).await;
        match end {
            End::Interrupted(error) => Err(ReplayError::Interrupted { error, report: Box::new(report) }),
            _ => Ok(report),
        }
    }

    /// Returns the number of events in one batch.
    fn batch_size(&self) -> usize {
        self.pacer.pace().batch(self.options.batch_size).min(MOST_AT_ONCE)
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
            if let Some(reason) = self.stops.due(&StopState::default(), &self.report, false) {
                return End::Cancelled(reason.to_string());
            }
            if !self.wait_for_turn().await {
                return cancelled();
            }
            let batch = self.next_batch();
            match self.deliver(&batch).await {
                Sent::Answered(outcomes) => self.answered(&batch, outcomes).await,
                Sent::Cancelled => return cancelled(),
                Sent::Closed => return End::Cancelled(TargetError::Closed.to_string()),
                Sent::Unreachable(why) => {
                    let settled = self.target.settled(&batch);
                    let known = batch.into_iter().zip(settled);
                    let (batch, outcomes): (Vec<_>, Vec<_>) =
                        known.filter_map(|(delivery, outcome)| Some((delivery, outcome?))).unzip();
                    self.answered(&batch, outcomes).await;
                    return End::Failed(why);
                }
                Sent::GivenUp(why) => {
                    self.given_up(&batch, &why);
                    return End::Failed(why);
                }
            }
        }
    }

    /// Reads until the queue has a whole batch, or the plan has no more events. Returns false when the run was
    /// cancelled.
    async fn fill(&mut self) -> Result<bool, EventStoreError> {
        let cancel = &self.options.cancel;
        while !cancel.is_cancelled() && self.queue.len() < self.batch_size() {
            let fetched = tokio::select! {
                fetched = self.pages.next() => fetched,
                () = cancel.cancelled() => break,
            };
            let Some(fetched) = fetched else { break };
            let page = fetched?;
            self.report.corrupt += page.corrupt.len() as u64;
            self.queue.extend(page.events);
        }
        Ok(!cancel.is_cancelled())
    }

    /// Waits for the turn that the pace allows, and while the run is paused. Returns false when the run was cancelled.
    async fn wait_for_turn(&mut self) -> bool {
        loop {
            let state = self.recorded.note(&self.report).await;
            if let Some(pace) = self.recorded.pace().filter(|pace| *pace != self.pacer.pace()) {
                self.pacer.set(pace, pace.batch(self.options.batch_size));
                self.turn = 0;
            }
            let rests = state == ReplayState::Paused;
            if std::mem::replace(&mut self.rests, rests) != rests {
                self.watcher.rests(rests);
            }
            if state == ReplayState::Cancelling || self.options.cancel.is_cancelled() {
                return false;
            }
            let now = Instant::now();
            let turn = match self.pacer.next() {
                _ if rests => now + LOOK_EVERY,
                _ if self.turn > 0 => return true,
                Some(turn) if turn > now => turn.min(now + LOOK_EVERY),
                _ => return true,
            };
            tokio::select! {
                () = tokio::time::sleep_until(turn) => {}
                () = self.options.cancel.cancelled() => return false,
            }
        }
    }

    /// Takes the next events of this turn, or of a new one. A turn is sent in parts if a limit of failures could be passed
    /// within it.
    fn next_batch(&mut self) -> Vec<ReplayDelivery> {
        if self.turn == 0 {
            self.turn = self.batch_size().min(self.queue.len());
        }
        let left = usize::try_from(self.stops.failures_left(&self.report)).unwrap_or(usize::MAX);
        let size = self.turn.min(left);
        self.turn -= size;
        let (replay_id, now) = (&self.report.replay_id, self.manager.clock().now());
        self.queue
            .drain(..size)
            .map(|stored| ReplayDelivery { stored, replay_id: replay_id.clone(), replay_timestamp: now })
            .collect()
    }

    /// Sends a batch to the target, and retries while the target is unavailable.
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Sent {
        let mut pauses = pauses(self.options.max_retries);
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
            let Some(pause) = pause else {
                return match error {
                    TargetError::Unavailable(_) => Sent::Unreachable(error.to_string()),
                    _ => Sent::GivenUp(error.to_string()),
                };
            };
            tracing::warn!(%error, ?pause, "a batch is tried again");
            // A repeated batch waits for a turn of its own.
            self.turn = 0;
            if !(self.pause(pause).await && self.wait_for_turn().await) {
                return Sent::Cancelled;
            }
        }
    }

    /// Waits. Returns false when the run was cancelled.
    async fn pause(&mut self, pause: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(pause) => true,
            () = self.options.cancel.cancelled() => false,
        }
    }

    async fn answered(&mut self, batch: &[ReplayDelivery], outcomes: Vec<DeliveryOutcome>) {
        let mut delivered = Vec::with_capacity(batch.len());
        let before = self.tally();
        for (delivery, outcome) in batch.iter().zip(outcomes) {
            self.sent(delivery);
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
        let (replays, clock) = (&**self.manager.replays(), self.manager.clock());
        self.report.uncounted += self.counter.count(replays, clock, &delivered).await;
        self.tell(before);
    }

    fn given_up(&mut self, batch: &[ReplayDelivery], why: &str) {
        let before = self.tally();
        for delivery in batch {
            self.sent(delivery);
            self.failed(delivery, why.to_owned());
        }
        self.tell(before);
    }

    fn sent(&mut self, delivery: &ReplayDelivery) {
        let stored = &delivery.stored;
        self.checker.sent(stored.position, stored.event.id(), &mut self.report);
        self.recorded.passed(stored.position);
    }

    fn failed(&mut self, delivery: &ReplayDelivery, error: String) {
        self.report.failed_replays += 1;
        let event = &delivery.stored.event;
        let (event_id, event_type) = (event.id().to_owned(), event.event_type().to_owned());
        let timestamp = self.manager.clock().now();
        self.report.add_error(ReplayErrorEntry { event_id, event_type, error, timestamp });
    }

    /// Returns the numbers of handled, failed and skipped events.
    fn tally(&self) -> [u64; 3] {
        [self.report.successful_replays, self.report.failed_replays, self.report.skipped_events]
    }

    fn tell(&self, before: [u64; 3]) {
        let names = [REPLAY_HANDLED, REPLAY_FAILED, REPLAY_SKIPPED];
        for ((name, now), before) in names.into_iter().zip(self.tally()).zip(before) {
            self.manager.count(name, &self.options.target, now - before);
        }
        self.watcher.progressed(self.report.progress());
    }
}
