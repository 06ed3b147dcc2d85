//! Carrying counts to the store: each second, and once more at the end.

use std::{sync::Arc, time::Duration};

use domain::{Retry, StorageFailure, ports::StatsStore};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::meter::Meter;

/// How far apart flushes are.
const PERIOD: Duration = Duration::from_secs(1);
/// How far apart old minutes are folded together.
const FOLD_PERIOD: Duration = Duration::from_secs(3600);
/// Minutes that are kept apart; older ones are folded together.
const MINUTES_KEPT: i64 = 24 * 60;
/// How often the last flush is tried, and how far apart.
const LAST_TRIES: u32 = 3;
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// A task that flushes a meter. It ends with [`Flusher::stop`], after a last flush, or without one when it is dropped.
#[derive(Debug)]
pub struct Flusher {
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl Flusher {
    /// Starts to flush: each second, and minutes older than 24 hours are folded together each hour.
    pub fn spawn(meter: Meter, store: Arc<dyn StatsStore>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(run(Work { meter, store, failing: false }, stopped));
        Self { stop, task }
    }

    /// Flushes a last time, and ends. Where the store fails then, what it did not take is logged and lost.
    pub async fn stop(mut self) {
        // The task may have ended with its runtime. Then there is no receiver.
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
    /// Whether the flush before failed: an outage is logged once.
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
