//! Counting, cheap enough to be done for each delivery.
//!
//! # Design
//! Each thread counts in a shard of its own (as long as there are no more threads than shards), so its lock is free
//! nearly always. A flush drains the shards into samples and adds them to the store. What the store did not take waits in
//! a backlog, as do counts that no flusher writes.

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
/// Samples of one call of the store.
const SAMPLES_A_CALL: usize = 1000;

/// Counts things by minute. Clones count in the same place.
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
    /// A meter that has counted nothing. The clock says which minute it is.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self(Arc::new(Inner { clock, shards, labels: Labels::default(), backlog: Mutex::default() }))
    }

    /// Counts something `n` times. The recorder knows it as the counter `event_replay_<name>_total`, with the label as
    /// its `kind`.
    pub fn count(&self, name: &'static str, label: &str, n: u64) {
        self.record(name, label, Count { count: n, sum: 0, took: None });
    }

    /// Counts something once, and what it took in microseconds. The recorder knows it as a counter, as above, and as the
    /// histogram `event_replay_<name>_seconds`.
    pub fn time(&self, name: &'static str, label: &str, took: Duration) {
        self.record(name, label, Count { count: 1, sum: whole_micros(took), took: Some(took) });
    }

    /// Counts `count` things that one call of `sum` microseconds did together. For the recorder's histogram that is one
    /// duration; where the sum is 0 it is a plain counter.
    pub fn add(&self, name: &'static str, label: &str, count: u64, sum: u64) {
        let took = (sum > 0).then(|| Duration::from_micros(sum));
        self.record(name, label, Count { count, sum, took });
    }

    /// The present minute, counted from the Unix epoch.
    pub fn minute(&self) -> i64 {
        minute_of(self.0.clock.now())
    }

    /// Adds what was counted since the last flush to the store's counters.
    ///
    /// # Errors
    /// When the store fails. What it did not take is kept for the next flush. After an answer that was lost, the samples
    /// of that call are not sent again, for they may be there: counters may say too little, never too much. The same holds
    /// where the flush is dropped half-way.
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
        let inner = &*self.0;
        let minute = minute_of(inner.clock.now());
        // The index is below the number of shards, so there is one.
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
    /// Everything that waits for the store.
    fn take(&self) -> Taken<'_> {
        let mut all = std::mem::take(&mut *lock(&self.backlog));
        for shard in &self.shards {
            let drained = lock(shard).drain();
            all.add(drained);
        }
        Taken { inner: self, samples: all.into_iter().collect() }
    }
}

/// Samples on their way to the store. Those that did not get there go back, also when the flush is dropped.
struct Taken<'m> {
    inner: &'m Inner,
    samples: Vec<StatSample>,
}

impl Taken<'_> {
    /// The samples of the next call.
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
    /// The shard that this thread counts in.
    static SHARD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
}
