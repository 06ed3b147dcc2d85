//! Events that wait for their time: the call that schedules events, and the task that appends due events.
//!
//! Every process may run a pump. The store takes an event out of the schedule and appends it in one step. So the event
//! is published once, however many pumps run.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use backon::Retryable;
use domain::{
    Backoff, Event, Jitter, Retry, RetryPolicy, StorageFailure,
    ports::{AppendOutcome, Clock, ScheduleOutcome, ScheduleStore},
    stats::APPENDED,
    time::{until, whole_micros},
};
use jiff::Timestamp;
use stats::Meter;
use tokio::{sync::oneshot, task::JoinSet};

use crate::{append::pauses, doubt::Doubt};

/// The longest pause between two checks of the schedule. Other processes schedule events too, and a clock may be set.
const RECHECK: Duration = Duration::from_millis(250);
/// The highest number of events appended in one step.
const EVENTS_A_STEP: usize = 256;
/// The pauses while the store fails, before jitter is added.
const OUTAGE: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Puts an event into the schedule. Repeats this with the same due time after transient faults and lost answers. After
/// a lost answer, the reported failure says that the outcome is unknown, even if the last try failed for another
/// reason.
pub(crate) async fn schedule(
    store: &dyn ScheduleStore,
    event: &Event,
    due: Timestamp,
    policy: RetryPolicy,
) -> Result<ScheduleOutcome, StorageFailure> {
    let mut doubt = Doubt::default();
    (|| store.schedule(event, due))
        .retry(pauses(policy))
        .when(|failure| {
            doubt.note(failure);
            failure.retry() != Retry::Never
        })
        .await
        .map_err(|failure| doubt.or(failure))
}

/// A task that appends scheduled events when they are due. It ends with [`SchedulePump::stop`] or when it is dropped.
///
/// The pump appends an event when it is due by the clock. If the event was scheduled during a pause of the pump, or a
/// clock was set, it is appended at most 250 milliseconds later. If the store fails, the pump retries until it works.
#[derive(Debug)]
pub struct SchedulePump {
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl SchedulePump {
    /// Starts a task that appends the due events of `store`. The clock should have the store's time. If a meter is
    /// given, it counts the appended events.
    pub fn spawn(store: Arc<dyn ScheduleStore>, clock: Arc<dyn Clock>, meter: Option<Meter>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(run(Pump { store, clock, meter, failures: 0 }, stopped));
        Self { stop, task }
    }

    /// Stops the pump after its current step. Due events that were not appended wait for the next pump.
    pub async fn stop(mut self) {
        // The task may have ended with its runtime. Then there is no receiver.
        let _ = self.stop.send(());
        if let Some(Err(error)) = self.task.join_next().await {
            tracing::error!(%error, "the task that publishes scheduled events ended early");
        }
    }
}

async fn run(mut pump: Pump, mut stopped: oneshot::Receiver<()>) {
    loop {
        let pause = pump.step().await;
        tokio::select! {
            biased;
            _ = &mut stopped => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Pump {
    store: Arc<dyn ScheduleStore>,
    clock: Arc<dyn Clock>,
    meter: Option<Meter>,
    /// Failures in a row. An outage is logged once.
    failures: u32,
}

impl Pump {
    /// Appends a bounded number of due events. Returns the pause before the next step.
    async fn step(&mut self) -> Duration {
        match self.publish_due().await {
            Ok(pause) => {
                if std::mem::take(&mut self.failures) > 0 {
                    tracing::info!("the schedule works again");
                }
                pause
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn publish_due(&self) -> Result<Duration, StorageFailure> {
        let Some(due) = self.store.next_due().await? else { return Ok(RECHECK) };
        let ahead = until(self.clock.now(), due);
        if !ahead.is_zero() {
            return Ok(ahead.min(RECHECK));
        }
        let began = Instant::now();
        let appended = self.store.append_due(EVENTS_A_STEP).await?;
        self.report(&appended, began.elapsed());
        // No event was due: the store's clock is behind, or another process was faster.
        Ok(if appended.is_empty() { RECHECK } else { Duration::ZERO })
    }

    fn report(&self, appended: &[(String, AppendOutcome)], took: Duration) {
        for (id, outcome) in appended {
            match outcome {
                AppendOutcome::Stored(_) | AppendOutcome::AlreadyStored(_) => {}
                AppendOutcome::Conflict(position) => tracing::error!(
                    event_id = %id, %position,
                    "a scheduled event was not published: other content came under its id meanwhile"
                ),
                AppendOutcome::Erased | AppendOutcome::NotStored => tracing::warn!(
                    event_id = %id, ?outcome, "a scheduled event was not published"
                ),
            }
        }
        if let Some(meter) = self.meter.as_ref().filter(|_| !appended.is_empty()) {
            meter.add(APPENDED, "", appended.len() as u64, whole_micros(took).max(1));
        }
    }

    fn failed(&mut self, error: &StorageFailure) -> Duration {
        if self.failures == 0 {
            tracing::error!(%error, "scheduled events cannot be published; tried again until they can");
        }
        self.failures = self.failures.saturating_add(1);
        OUTAGE.pause(self.failures, Jitter::Added, fastrand::f64())
    }
}
