//! The counters that publishers, consumers and replays of every process write to the store.

use std::collections::BTreeMap;

use domain::{ports::StatSample, stats};

use super::{Kind, MOST_VALUES, Metric, OTHER, Series};

/// A counter of the store and the metric that shows it.
struct Shown {
    counted: &'static str,
    metric: &'static str,
    label: &'static str,
    /// The value of the label `outcome`, if the counter stands for one.
    outcome: Option<&'static str>,
    help: &'static str,
}

const DELIVERIES: &str = "event_replay_delivery_outcomes_total";
const REPLAYED: &str = "event_replay_replay_events_total";

/// All counters with a metric. Counters of the same metric are adjacent.
const SHOWN: &[Shown] = &[
    shown(stats::ADMITTED, "event_replay_events_admitted_total", "type", None, "Events that were admitted."),
    shown(stats::REJECTED, "event_replay_events_refused_total", "type", None, "Events that were refused."),
    shown(
        stats::APPENDED,
        "event_replay_events_appended_total",
        "",
        None,
        "Events that appends answered for.",
    ),
    shown(
        stats::APPEND_FAILED,
        "event_replay_append_failures_total",
        "",
        None,
        "Events whose append failed permanently.",
    ),
    shown(
        stats::DELIVERED,
        "event_replay_deliveries_total",
        "group",
        None,
        "Deliveries that were handed to handlers.",
    ),
    shown(stats::HANDLED, "event_replay_events_handled_total", "type", None, "Deliveries that were handled."),
    shown(
        stats::FAILED_ATTEMPTS,
        "event_replay_failed_attempts_total",
        "type",
        None,
        "Attempts that failed.",
    ),
    shown(
        stats::RETRIED,
        DELIVERIES,
        "group",
        Some("retry"),
        "Deliveries that were not handled, by outcome.",
    ),
    shown(stats::DEAD_LETTERED, DELIVERIES, "group", Some("dead_letter"), ""),
    shown(stats::DROPPED, DELIVERIES, "group", Some("dropped"), ""),
    shown(stats::EXPIRED, DELIVERIES, "group", Some("expired"), ""),
    shown(
        stats::DEAD_LETTERED,
        "event_replay_dead_letters_made_total",
        "group",
        None,
        "Dead letters that were made.",
    ),
    shown(
        stats::DEAD_LETTERS_CLOSED,
        "event_replay_dead_letters_closed_total",
        "group",
        None,
        "Dead letters that were closed.",
    ),
    shown(stats::REPLAY_HANDLED, REPLAYED, "", Some("handled"), "Replayed deliveries, by outcome."),
    shown(stats::REPLAY_FAILED, REPLAYED, "", Some("failed"), ""),
    shown(stats::REPLAY_SKIPPED, REPLAYED, "", Some("skipped"), ""),
];

const fn shown(
    counted: &'static str,
    metric: &'static str,
    label: &'static str,
    outcome: Option<&'static str>,
    help: &'static str,
) -> Shown {
    Shown { counted, metric, label, outcome, help }
}

/// The counters, added up over all minutes.
pub(super) struct Counted<'a> {
    /// Count and sum, by counter and label.
    totals: BTreeMap<(&'a str, &'a str), (u64, u64)>,
    groups: &'a [String],
    types: &'a [String],
}

/// Returns the event types with the highest counts, highest first, at most [`MOST_VALUES`].
pub(super) fn types(samples: &[StatSample]) -> Vec<String> {
    const OF_TYPES: [&str; 4] = [stats::ADMITTED, stats::REJECTED, stats::HANDLED, stats::FAILED_ATTEMPTS];
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| OF_TYPES.contains(&sample.name.as_str())) {
        let count = counts.entry(&sample.label).or_default();
        *count = count.saturating_add(sample.count);
    }
    let mut busiest: Vec<(&str, u64)> = counts.into_iter().collect();
    busiest.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    busiest.into_iter().take(MOST_VALUES).map(|(name, _)| name.to_owned()).collect()
}

impl<'a> Counted<'a> {
    /// Adds up samples. The given groups and types get their own series.
    pub(super) fn new(samples: &'a [StatSample], groups: &'a [String], types: &'a [String]) -> Self {
        let mut totals: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        for sample in samples {
            let (count, sum) = totals.entry((&sample.name, &sample.label)).or_default();
            *count = count.saturating_add(sample.count);
            *sum = sum.saturating_add(sample.sum);
        }
        Self { totals, groups, types }
    }

    /// Returns all metrics.
    pub(super) fn metrics(&self) -> Vec<Metric> {
        let mut all: Vec<Metric> = vec![];
        for shown in SHOWN {
            let series = self.series(shown);
            match all.last_mut().filter(|metric| metric.name == shown.metric) {
                Some(metric) => metric.series.extend(series),
                None => all.push(Metric::new(shown.metric, Kind::Counter, shown.help, series)),
            }
        }
        all.extend(self.times());
        all
    }

    fn series(&self, shown: &Shown) -> Vec<Series> {
        let values = self.values(shown.counted, shown.label, |(count, _)| count as f64);
        values
            .into_iter()
            .map(|(value, total)| {
                let mut labels = Vec::from_iter(value.map(|value| (shown.label, value)));
                labels.extend(shown.outcome.map(|outcome| ("outcome", outcome.to_owned())));
                Series { labels, value: total }
            })
            .collect()
    }

    /// Returns the totals by label value. The values without their own series are added up in the last entry.
    fn values(
        &self,
        counted: &str,
        label: &str,
        of: impl Fn((u64, u64)) -> f64,
    ) -> Vec<(Option<String>, f64)> {
        let known: &[String] = match label {
            "type" => self.types,
            "group" => self.groups.get(..MOST_VALUES.min(self.groups.len())).unwrap_or_default(),
            _ => &[],
        };
        let mut rest = 0.0;
        let mut totals: Vec<(Option<String>, f64)> =
            known.iter().map(|name| (Some(name.clone()), 0.0)).collect();
        for ((name, value), total) in &self.totals {
            if *name != counted {
                continue;
            }
            match known.iter().position(|known| known == value).and_then(|at| totals.get_mut(at)) {
                Some((_, sum)) => *sum += of(*total),
                None => rest += of(*total),
            }
        }
        totals.push((Some(OTHER.to_owned()).filter(|_| !label.is_empty()), rest));
        totals
    }

    /// Returns the time of handlers and the number of attempts, for every outcome.
    fn times(&self) -> [Metric; 2] {
        let of = |value: fn((u64, u64)) -> f64| {
            let handled = self.values(stats::HANDLED, "type", value);
            let failed = self.values(stats::FAILED_ATTEMPTS, "type", value);
            let both = handled.into_iter().zip(failed).map(|((name, one), (_, other))| Series {
                labels: name.map(|name| ("type", name)).into_iter().collect(),
                value: one + other,
            });
            both.collect::<Vec<_>>()
        };
        [
            Metric::new(
                "event_replay_handler_seconds_total",
                Kind::Counter,
                "Time that handlers took, in seconds.",
                of(|(_, micros)| micros as f64 / 1e6),
            ),
            Metric::new(
                "event_replay_handler_attempts_total",
                Kind::Counter,
                "Attempts that the time is of.",
                of(|(count, _)| count as f64),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, label: &str, count: u64, sum: u64) -> StatSample {
        StatSample { minute: 1, name: name.to_owned(), label: label.to_owned(), count, sum }
    }

    fn value(metrics: &[Metric], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let metric = metrics.iter().find(|metric| metric.name == name)?;
        let is_it = |series: &&Series| {
            series.labels.iter().map(|(name, value)| (*name, value.as_str())).eq(labels.iter().copied())
        };
        metric.series.iter().find(is_it).map(|series| series.value)
    }

    #[test]
    fn every_known_series_is_at_zero_before_its_first_event() {
        let groups = ["mail".to_owned()];
        let metrics = Counted::new(&[], &groups, &[]).metrics();
        for outcome in ["retry", "dead_letter", "dropped", "expired"] {
            assert_eq!(value(&metrics, DELIVERIES, &[("group", "mail"), ("outcome", outcome)]), Some(0.0));
        }
        assert_eq!(value(&metrics, "event_replay_events_refused_total", &[("type", OTHER)]), Some(0.0));
        assert_eq!(value(&metrics, "event_replay_append_failures_total", &[]), Some(0.0));
        assert_eq!(value(&metrics, REPLAYED, &[("outcome", "failed")]), Some(0.0));
    }

    #[test]
    fn the_busiest_types_have_series_and_the_others_are_summed_up() {
        let samples: Vec<StatSample> =
            (0..60).map(|n| sample(stats::ADMITTED, &format!("type-{n:02}"), 100 - n, 0)).collect();
        let types = types(&samples);
        assert_eq!((types.len(), types[0].as_str(), types[49].as_str()), (50, "type-00", "type-49"));
        let metrics = Counted::new(&samples, &[], &types).metrics();
        let name = "event_replay_events_admitted_total";
        assert_eq!(value(&metrics, name, &[("type", "type-49")]), Some(51.0));
        let others: u64 = (50..60).map(|n| 100 - n).sum();
        assert_eq!(value(&metrics, name, &[("type", OTHER)]), Some(others as f64));
    }

    #[test]
    fn failed_attempts_took_their_time_too() {
        let samples =
            [sample(stats::HANDLED, "a", 3, 1_500_000), sample(stats::FAILED_ATTEMPTS, "a", 1, 500_000)];
        let types = types(&samples);
        let metrics = Counted::new(&samples, &[], &types).metrics();
        assert_eq!(value(&metrics, "event_replay_handler_seconds_total", &[("type", "a")]), Some(2.0));
        assert_eq!(value(&metrics, "event_replay_handler_attempts_total", &[("type", "a")]), Some(4.0));
    }
}
