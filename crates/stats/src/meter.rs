//! Counters that are cheap enough for every delivery.
//!
//! # Design
//! Each thread counts in its own shard if there are no more threads than shards. The lock of a shard is thus almost
//! always free. A flush drains the shards into samples and adds the samples to the store. Samples that the store
//! refused wait in a backlog. Counts that no flusher writes also wait.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{
    Retry, StorageFailure,
    ports::{Clock, StatSample, StatsStore},
    time::whole_micros,
};
use jiff::Timestamp;

use crate::{
    backlog::Backlog,
    series::{Count, Labels, Shard, lock},
};

const SHARDS: usize = 16;
/// Samples in one call of the store.
const SAMPLES_A_CALL: usize = 1000;

/// Counts by minute. Clones share the same counts.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use domain::{ports::SystemClock, stats::{DELIVERED, HANDLED}};
/// use event_replay_stats::Meter;
/// let meter = Meter::new(Arc::new(SystemClock));
/// meter.count(DELIVERED, "mailer", 1);
/// meter.time(HANDLED, "user.registered", Duration::from_millis(3));
/// ```
#[derive(Clone)]
pub struct Meter(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    shards: [Mutex<Shard>; SHARDS],
    labels: Labels,
    backlog: Mutex<Backlog>,
}

impl Meter {
    /// Creates a meter without counts. The clock gives the current minute.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self(Arc::new(Inner { clock, shards, labels: Labels::default(), backlog: Mutex::default() }))
    }

    /// Counts `n` occurrences. The recorder gets the counter `event_replay_<name>_total`, with the label as its `kind`.
    pub fn count(&self, name: &'static str, label: &str, n: u64) {
        self.record(name, label, Count { count: n, sum: 0, took: None });
    }

    /// Counts one occurrence, and adds its duration in microseconds. The recorder gets the counter of [`Meter::count`],
    /// and the histogram `event_replay_<name>_seconds`.
    pub fn time(&self, name: &'static str, label: &str, took: Duration) {
        self.record(name, label, Count { count: 1, sum: whole_micros(took), took: Some(took) });
    }

    /// Counts one occurrence at this time, as [`Meter::count`] does for now.
    pub fn count_at(&self, at: Timestamp, name: &'static str, label: &str) {
        self.record_at(at, name, label, Count { count: 1, sum: 0, took: None });
    }

    /// Counts one occurrence at this time with its duration, as [`Meter::time`] does for now.
    pub fn time_at(&self, at: Timestamp, name: &'static str, label: &str, took: Duration) {
        self.record_at(at, name, label, Count { count: 1, sum: whole_micros(took), took: Some(took) });
    }

    /// Counts `count` occurrences in one call that took `sum` microseconds. The recorder's histogram gets one duration.
    /// If `sum` is 0, the recorder gets only the counter.
    pub fn add(&self, name: &'static str, label: &str, count: u64, sum: u64) {
        let took = (sum > 0).then(|| Duration::from_micros(sum));
        self.record(name, label, Count { count, sum, took });
    }

    /// Returns the current minute, counted from the Unix epoch.
    pub fn minute(&self) -> i64 {
        minute_of(self.0.clock.now())
    }

    /// Adds the counts since the last flush to the store's counters.
    ///
    /// # Errors
    /// Returns [`StorageFailure`] when the store fails. The next flush retries the samples that the store refused. If
    /// the answer of a call was lost, its samples are not sent again, because the store may have them. Counters may
    /// thus be too low, but never too high. The same holds if the flush is dropped during a call.
    pub async fn flush(&self, store: &dyn StatsStore) -> Result<(), StorageFailure> {
        let mut taken = self.0.take();
        while let Some(call) = taken.next_call() {
            if let Err(error) = store.add_stats(&call).await {
                if error.retry() != Retry::ToSettle {
                    taken.samples.extend(call);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn record(&self, name: &'static str, label: &str, what: Count) {
        self.record_at(self.0.clock.now(), name, label, what);
    }

    fn record_at(&self, at: Timestamp, name: &'static str, label: &str, what: Count) {
        let inner = &*self.0;
        let minute = minute_of(at);
        // The index is below the number of shards, so the shard exists.
        if let Some(shard) = inner.shards.get(SHARD.with(|shard| *shard)) {
            lock(shard).count(&inner.labels, name, label, minute, what);
        }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").finish_non_exhaustive()
    }
}

impl Inner {
    /// Takes all samples that wait for the store.
    fn take(&self) -> Taken<'_> {
        let mut all = std::mem::take(&mut *lock(&self.backlog));
        for shard in &self.shards {
            let drained = lock(shard).drain();
            all.add(drained);
        }
        Taken { inner: self, samples: all.into_iter().collect() }
    }
}

/// Samples that a flush is writing. On drop, the unwritten samples return to the backlog, also if the flush is dropped.
struct Taken<'m> {
    inner: &'m Inner,
    samples: Vec<StatSample>,
}

impl Taken<'_> {
    /// Returns the samples of the next call.
    fn next_call(&mut self) -> Option<Vec<StatSample>> {
        let rest = self.samples.len().saturating_sub(SAMPLES_A_CALL);
        Some(self.samples.split_off(rest)).filter(|call| !call.is_empty())
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if !self.samples.is_empty() {
            lock(&self.inner.backlog).add(std::mem::take(&mut self.samples));
        }
    }
}

pub(crate) fn minute_of(instant: Timestamp) -> i64 {
    instant.as_second().div_euclid(60)
}

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The index of this thread's shard.
    static SHARD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
}
