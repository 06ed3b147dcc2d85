//! A bounded backlog of samples that wait for the store. Samples with the same key are added up.

use std::collections::{BTreeMap, btree_map};

use domain::ports::StatSample;

/// The number of waiting samples above which the oldest minutes are merged into minute 0, as a store does with old
/// minutes. A backlog thus loses minutes, but no counts.
const MAX_SAMPLES: usize = 20_000;

/// Counts and sums by minute, name and label.
#[derive(Debug, Default)]
pub(crate) struct Backlog(BTreeMap<(i64, String, String), (u64, u64)>);

impl Backlog {
    /// Adds samples to the counts with the same minute, name and label.
    pub(crate) fn add(&mut self, samples: impl IntoIterator<Item = StatSample>) {
        self.merge(samples);
        while self.0.len() > MAX_SAMPLES && self.fold_oldest() {}
    }

    fn merge(&mut self, samples: impl IntoIterator<Item = StatSample>) {
        for StatSample { minute, name, label, count, sum } in samples {
            let entry = self.0.entry((minute, name, label)).or_default();
            entry.0 = entry.0.saturating_add(count);
            entry.1 = entry.1.saturating_add(sum);
        }
    }

    /// Merges the oldest minute into minute 0. Returns false if only minute 0 is left.
    fn fold_oldest(&mut self) -> bool {
        let Some(oldest) = self.0.keys().map(|key| key.0).find(|minute| *minute != 0) else { return false };
        let of_minute = (oldest, String::new(), String::new())..(oldest + 1, String::new(), String::new());
        let gone: Vec<_> = self.0.extract_if(of_minute, |_, _| true).map(sample).collect();
        self.merge(gone.into_iter().map(|sample| StatSample { minute: 0, ..sample }));
        true
    }
}

impl IntoIterator for Backlog {
    type Item = StatSample;
    type IntoIter = std::iter::Map<
        btree_map::IntoIter<(i64, String, String), (u64, u64)>,
        fn(((i64, String, String), (u64, u64))) -> StatSample,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(sample)
    }
}

fn sample(((minute, name, label), (count, sum)): ((i64, String, String), (u64, u64))) -> StatSample {
    StatSample { minute, name, label, count, sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(minute: i64, label: usize) -> StatSample {
        StatSample { minute, name: "n".to_owned(), label: label.to_string(), count: 1, sum: 2 }
    }

    #[test]
    fn a_backlog_at_its_bound_loses_minutes_and_no_counts() {
        let mut backlog = Backlog::default();
        for minute in 1..=1000 {
            backlog.add((0..100).map(|label| sample(minute, label)));
        }
        let samples: Vec<_> = backlog.into_iter().collect();
        assert!(samples.len() <= MAX_SAMPLES, "{}", samples.len());
        let sums = samples.iter().fold((0, 0), |all, sample| (all.0 + sample.count, all.1 + sample.sum));
        assert_eq!(sums, (100_000, 200_000));
        let newest = samples.iter().filter(|sample| sample.minute == 1000).count();
        let folded = samples.iter().filter(|sample| sample.minute == 0).count();
        assert_eq!((newest, folded), (100, 100));
    }

    #[test]
    fn one_large_minute_is_kept_within_bounds_too() {
        let mut backlog = Backlog::default();
        backlog.add((0..MAX_SAMPLES + 5).map(|label| sample(7, label)));
        assert!(backlog.into_iter().all(|sample| sample.minute == 0 && sample.count == 1));
    }
}
