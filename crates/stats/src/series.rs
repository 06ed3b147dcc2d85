//! The series that one shard counts: a name and a label, its handles at the recorder, its present minute.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::ports::StatSample;
use metrics::{Counter, Histogram};

use crate::backlog::Backlog;

/// Labels that a name may have; further ones are counted under [`OTHER`]. Labels come from outside, as events' types do.
pub const MAX_LABELS: usize = 1000;
/// The label of whatever came after a name had [`MAX_LABELS`] of them.
pub const OTHER: &str = "(other)";

/// One thing to count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    /// How often.
    pub(crate) count: u64,
    /// The sum of what was measured.
    pub(crate) sum: u64,
    /// What one call took, for the recorder's histogram.
    pub(crate) took: Option<Duration>,
}

/// The labels that each name has, over all shards.
#[derive(Debug, Default)]
pub(crate) struct Labels(Mutex<HashMap<&'static str, HashSet<Box<str>>>>);

impl Labels {
    /// Whether a name may have this label, which it has from then on.
    fn admit(&self, name: &'static str, label: &str) -> bool {
        let mut names = lock(&self.0);
        let labels = names.entry(name).or_default();
        label == OTHER
            || labels.contains(label)
            || (labels.len() < MAX_LABELS && labels.insert(Box::from(label)))
    }
}

struct Series {
    counter: Counter,
    /// Made with the first duration.
    histogram: Option<Histogram>,
    minute: i64,
    count: u64,
    sum: u64,
}

impl Series {
    fn new(name: &'static str, label: &str, minute: i64) -> Self {
        Self { counter: counter(name, label), histogram: None, minute, count: 0, sum: 0 }
    }

    fn add(&mut self, name: &'static str, label: &str, what: Count) {
        self.count = self.count.saturating_add(what.count);
        self.sum = self.sum.saturating_add(what.sum);
        if what.count > 0 {
            self.counter.increment(what.count);
        }
        if let Some(took) = what.took {
            self.histogram.get_or_insert_with(|| histogram(name, label)).record(took);
        }
    }

    /// What was counted since it was last taken, if anything was.
    fn take(&mut self, name: &str, label: &str) -> Option<StatSample> {
        let (count, sum) = (std::mem::take(&mut self.count), std::mem::take(&mut self.sum));
        (count > 0 || sum > 0).then(|| StatSample {
            minute: self.minute,
            name: name.to_owned(),
            label: label.to_owned(),
            count,
            sum,
        })
    }
}

/// The series that some of the threads count in.
#[derive(Default)]
pub(crate) struct Shard {
    series: HashMap<&'static str, HashMap<Box<str>, Series>>,
    /// Minutes that are over and were not taken yet.
    over: Backlog,
}

impl Shard {
    /// Counts, under the label or, where the name has too many of them, under [`OTHER`].
    pub(crate) fn count(
        &mut self,
        labels: &Labels,
        name: &'static str,
        label: &str,
        minute: i64,
        what: Count,
    ) {
        let by_label = self.series.entry(name).or_default();
        if let Some(series) = by_label.get_mut(label) {
            return in_minute(&mut self.over, series, name, label, minute).add(name, label, what);
        }
        let label = if labels.admit(name, label) { label } else { OTHER };
        let series = by_label.entry(Box::from(label)).or_insert_with(|| Series::new(name, label, minute));
        in_minute(&mut self.over, series, name, label, minute).add(name, label, what);
    }

    /// Takes whatever was counted since it was last called.
    pub(crate) fn drain(&mut self) -> Vec<StatSample> {
        let mut taken: Vec<_> = std::mem::take(&mut self.over).into_iter().collect();
        for (name, by_label) in &mut self.series {
            taken.extend(by_label.iter_mut().filter_map(|(label, series)| series.take(name, label)));
        }
        taken
    }
}

/// The series, moved on to a minute. Its handles are fetched again each minute, so that a recorder that was installed
/// late is found.
fn in_minute<'s>(
    over: &mut Backlog,
    series: &'s mut Series,
    name: &'static str,
    label: &str,
    minute: i64,
) -> &'s mut Series {
    if series.minute != minute {
        over.add(series.take(name, label));
        *series = Series::new(name, label, minute);
    }
    series
}

fn counter(name: &str, label: &str) -> Counter {
    metrics::counter!(format!("event_replay_{name}_total"), "kind" => label.to_owned())
}

fn histogram(name: &str, label: &str) -> Histogram {
    metrics::histogram!(format!("event_replay_{name}_seconds"), "kind" => label.to_owned())
}

/// Counting never stops half-way, so a poisoned lock still guards whole counts.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
