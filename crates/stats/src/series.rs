//! The series of one shard: a name and a label, its handles of the recorder, and its current minute.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::ports::StatSample;
use metrics::{Counter, Histogram};

use crate::backlog::Backlog;

/// Maximum number of labels of a name. Further labels are counted under [`OTHER`]. The limit exists because labels such
/// as event types come from outside.
pub const MAX_LABELS: usize = 1000;
/// The label for all further labels after a name has [`MAX_LABELS`] labels.
pub const OTHER: &str = "(other)";

/// One addition to a series.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Count {
    /// The number of occurrences.
    pub(crate) count: u64,
    /// The sum of the measured values, in microseconds.
    pub(crate) sum: u64,
    /// The duration of one call, for the recorder's histogram.
    pub(crate) took: Option<Duration>,
}

/// The labels of each name, over all shards.
#[derive(Debug, Default)]
pub(crate) struct Labels(Mutex<HashMap<&'static str, HashSet<Box<str>>>>);

impl Labels {
    /// Returns whether a name may have this label, and reserves the label.
    pub(crate) fn admit(&self, name: &'static str, label: &str) -> bool {
        let mut names = lock(&self.0);
        let labels = names.entry(name).or_default();
        label == OTHER
            || labels.contains(label)
            || (labels.len() < MAX_LABELS && labels.insert(Box::from(label)))
    }
}

struct Series {
    counter: Counter,
    /// Created with the first duration.
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

    /// Takes the counts since the last call, if there are any.
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

/// The series of the threads that use this shard.
#[derive(Default)]
pub(crate) struct Shard {
    series: HashMap<&'static str, HashMap<Box<str>, Series>>,
    /// Counts of past minutes that were not taken yet.
    over: Backlog,
}

impl Shard {
    /// Counts under the label, or under [`OTHER`] if the name has too many labels.
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

    /// Takes all counts since the last call.
    pub(crate) fn drain(&mut self) -> Vec<StatSample> {
        let mut taken: Vec<_> = std::mem::take(&mut self.over).into_iter().collect();
        for (name, by_label) in &mut self.series {
            taken.extend(by_label.iter_mut().filter_map(|(label, series)| series.take(name, label)));
        }
        taken
    }
}

/// Moves the series to a minute. The handles are created again each minute, so that a recorder that was installed late
/// gets the counts.
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

/// Locks a mutex, also after a panic. Counting never stops half-way, so the counts are consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
