//! Counters by minute, name and label.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::ports::{StatSample, StatsStore, StatsStoreError};

use crate::MemoryStore;

/// What a counter is kept under; the order is the port's.
type StatKey = (i64, String, String);

/// The minute that everything is folded into.
const FOLDED: i64 = 0;

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Count and sum.
    counters: BTreeMap<StatKey, (u64, u64)>,
}

impl Stats {
    fn add(&mut self, key: StatKey, count: u64, sum: u64) {
        let counter = self.counters.entry(key).or_default();
        counter.0 = counter.0.saturating_add(count);
        counter.1 = counter.1.saturating_add(sum);
    }

    fn since(&self, minute: Option<i64>) -> Vec<StatSample> {
        let sample = |((minute, name, label), (count, sum)): (&StatKey, &(u64, u64))| StatSample {
            minute: *minute,
            name: name.clone(),
            label: label.clone(),
            count: *count,
            sum: *sum,
        };
        let first = (minute.unwrap_or(i64::MIN), String::new(), String::new());
        self.counters.range(first..).map(sample).collect()
    }

    fn fold(&mut self, before: i64) {
        let newer = self.counters.split_off(&(before, String::new(), String::new()));
        let older = std::mem::replace(&mut self.counters, newer);
        for ((_, name, label), (count, sum)) in older {
            self.add((FOLDED, name, label), count, sum);
        }
    }
}

#[async_trait]
impl StatsStore for MemoryStore {
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StatsStoreError> {
        let mut state = self.state_mut();
        for sample in samples {
            let key = (sample.minute, sample.name.clone(), sample.label.clone());
            state.stats.add(key, sample.count, sample.sum);
        }
        Ok(())
    }

    async fn stats(&self, since_minute: Option<i64>) -> Result<Vec<StatSample>, StatsStoreError> {
        Ok(self.state().stats.since(since_minute))
    }

    async fn fold_stats(&self, before_minute: i64) -> Result<(), StatsStoreError> {
        self.state_mut().stats.fold(before_minute);
        Ok(())
    }
}
