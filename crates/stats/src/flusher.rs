//! Writes counts to the store each second, and once more at the end.

use std::{sync::Arc, time::Duration};

use domain::{Retry, StorageFailure, ports::StatsStore};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::meter::Meter;

/// The interval between two flushes.
const PERIOD: Duration = Duration::from_secs(1);
/// The interval between two merges of old minutes.
const FOLD_PERIOD: Duration = Duration::from_secs(3600);
/// The number of newest minutes that are kept separate. Older minutes are merged.
const MINUTES_KEPT: i64 = 24 * 60;
/// The last flush runs at most `LAST_TRIES` times, with a pause of `LAST_PAUSE` between two tries.
const LAST_TRIES: u32 = 3;
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// A task that flushes a meter. [`Flusher::stop`] flushes a last time and ends the task. If the flusher is dropped, the
/// task ends without a flush.
#[derive(Debug)]
pub struct Flusher {
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl Flusher {
    /// Starts the task. It flushes each second, and merges minutes older than 24 hours each hour.
    pub fn spawn(meter: Meter, store: Arc<dyn StatsStore>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(run(Work { meter, store, failing: false }, stopped));
        Self { stop, task }
    }

    /// Flushes a last time, and ends the task. If the store fails, the remaining counts are lost, and an error is
    /// logged.
    pub async fn stop(mut self) {
        // If the task has ended with its runtime, there is no receiver.
        let _ = self.stop.send(());
        if let Some(Err(error)) = self.task.join_next().await {
            tracing::error!(%error, "the task that keeps counters ended before its last flush");
        }
    }
}

async fn run(mut work: Work, mut stopped: oneshot::Receiver<()>) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fold_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            _ = ticks.tick() => {}
        }
        let flushed = work.flush().await;
        work.say(flushed);
        if Instant::now() >= fold_at {
            work.fold().await;
            fold_at = Instant::now() + FOLD_PERIOD;
        }
    }
    work.flush_last().await;
}

struct Work {
    meter: Meter,
    store: Arc<dyn StatsStore>,
    /// Whether the flush before failed. An outage is logged once.
    failing: bool,
}

impl Work {
    async fn flush(&self) -> Result<(), StorageFailure> {
        self.meter.flush(&*self.store).await
    }

    fn say(&mut self, flushed: Result<(), StorageFailure>) {
        let was_failing = std::mem::replace(&mut self.failing, flushed.is_err());
        match flushed {
            Err(error) if !was_failing => {
                tracing::warn!(%error, "counters cannot be stored; they are kept in memory and tried again");
            }
            Ok(()) if was_failing => tracing::info!("counters are stored again"),
            _ => {}
        }
    }

    async fn fold(&self) {
        if let Err(error) = self.store.fold_stats(self.meter.minute() - MINUTES_KEPT).await {
            tracing::warn!(%error, "old counters could not be folded together; tried again in an hour");
        }
    }

    async fn flush_last(&self) {
        let mut tries = LAST_TRIES;
        while let Err(error) = self.flush().await {
            tries -= 1;
            if tries == 0 || error.retry() == Retry::Never {
                tracing::error!(%error, "the last counters could not be stored");
                return;
            }
            tokio::time::sleep(LAST_PAUSE).await;
        }
    }
}
