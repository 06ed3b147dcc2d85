//! What publishers, consumers and replays counted, summed up.

use std::collections::BTreeMap;

use domain::{
    DeadLetterState,
    ports::{DeadLetterCount, StatSample},
    stats,
};
use serde::Serialize;

/// Counters over some time. A rate is none where nothing was counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Events that were let in.
    pub admitted: u64,
    /// Events that were refused.
    pub rejected: u64,
    /// The share that was refused.
    pub validation_failure_rate: Option<f64>,
    /// Events that were stored.
    pub appended: u64,
    /// Events that could not be stored.
    pub append_failed: u64,
    /// The share that was stored.
    pub append_success_rate: Option<f64>,
    /// Deliveries that began.
    pub delivered: u64,
    /// Deliveries that were handled.
    pub handled: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Attempts that were not the first.
    pub retried: u64,
    /// Deliveries that became dead letters.
    pub dead_lettered: u64,
    /// Dead letters that were closed.
    pub dead_letters_closed: u64,
    /// Deliveries that were given up on and dropped.
    pub dropped: u64,
    /// Deliveries that came too late.
    pub expired: u64,
    /// Replayed events that were handled.
    pub replay_handled: u64,
    /// Replayed events that failed.
    pub replay_failed: u64,
    /// Replayed events that were skipped.
    pub replay_skipped: u64,
    /// The share of replayed events that was handled.
    pub replay_success_rate: Option<f64>,
    /// How long handlers took, by type.
    pub processing_time: Vec<ProcessingTime>,
}

/// How long handlers took for events of a type, whatever came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessingTime {
    /// The type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Attempts.
    pub count: u64,
    /// What one took on average, in milliseconds.
    pub average_ms: f64,
}

/// Dead letters of all groups by state, now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DeadLetterCounts {
    /// They wait for people.
    pub open: u64,
    /// Sent to their group again.
    pub redriving: u64,
    /// Handled after a redrive.
    pub handled: u64,
    /// They were closed unhandled.
    pub discarded: u64,
}

impl Counters {
    /// Sums samples up.
    pub fn of<'s>(samples: impl IntoIterator<Item = &'s StatSample>) -> Self {
        let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
        let mut times: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for sample in samples {
            let total = totals.entry(&sample.name).or_default();
            *total = total.saturating_add(sample.count);
            // Attempts that failed took their time, too.
            if [stats::HANDLED, stats::FAILED_ATTEMPTS].contains(&sample.name.as_str()) {
                let (count, sum) = times.entry(&sample.label).or_default();
                *count = count.saturating_add(sample.count);
                *sum = sum.saturating_add(sample.sum);
            }
        }
        let of = |name: &str| totals.get(name).copied().unwrap_or(0);
        let timed = times.into_iter().filter(|(_, (count, _))| *count > 0);
        Self {
            admitted: of(stats::ADMITTED),
            rejected: of(stats::REJECTED),
            validation_failure_rate: share(of(stats::REJECTED), of(stats::ADMITTED)),
            appended: of(stats::APPENDED),
            append_failed: of(stats::APPEND_FAILED),
            append_success_rate: share(of(stats::APPENDED), of(stats::APPEND_FAILED)),
            delivered: of(stats::DELIVERED),
            handled: of(stats::HANDLED),
            failed_attempts: of(stats::FAILED_ATTEMPTS),
            retried: of(stats::RETRIED),
            dead_lettered: of(stats::DEAD_LETTERED),
            dead_letters_closed: of(stats::DEAD_LETTERS_CLOSED),
            dropped: of(stats::DROPPED),
            expired: of(stats::EXPIRED),
            replay_handled: of(stats::REPLAY_HANDLED),
            replay_failed: of(stats::REPLAY_FAILED),
            replay_skipped: of(stats::REPLAY_SKIPPED),
            replay_success_rate: share(of(stats::REPLAY_HANDLED), of(stats::REPLAY_FAILED)),
            processing_time: timed
                .map(|(event_type, (count, micros))| ProcessingTime {
                    event_type: event_type.to_owned(),
                    count,
                    average_ms: rounded(micros as f64 / count as f64 / 1000.0),
                })
                .collect(),
        }
    }

    /// Whether anything was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The first part of both, from 0 to 1.
fn share(part: u64, rest: u64) -> Option<f64> {
    let whole = part as f64 + rest as f64;
    (whole > 0.0).then(|| rounded(part as f64 / whole))
}

/// Counters are no instruments: four digits after the point say all there is.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// Dead letters by state.
pub(super) fn dead_letters(counts: &[DeadLetterCount]) -> DeadLetterCounts {
    let mut sum = DeadLetterCounts::default();
    for count in counts {
        *match count.state {
            DeadLetterState::Open => &mut sum.open,
            DeadLetterState::Redriving => &mut sum.redriving,
            DeadLetterState::Handled => &mut sum.handled,
            DeadLetterState::Discarded => &mut sum.discarded,
        } += count.count;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, label: &str, count: u64, sum: u64) -> StatSample {
        StatSample { minute: 1, name: name.to_owned(), label: label.to_owned(), count, sum }
    }

    #[test]
    fn samples_of_several_programs_and_minutes_add_up() {
        let samples = [
            sample(stats::ADMITTED, "a", 90, 0),
            sample(stats::ADMITTED, "b", 5, 0),
            sample(stats::REJECTED, "", 5, 0),
            sample(stats::HANDLED, "a", 3, 30_000),
            sample(stats::FAILED_ATTEMPTS, "a", 1, 10_000),
            sample(stats::REPLAY_HANDLED, "stdout", 2, 0),
            sample("of a later version", "", 7, 0),
        ];
        let counters = Counters::of(&samples);
        assert_eq!((counters.admitted, counters.rejected, counters.handled), (95, 5, 3));
        assert_eq!(counters.validation_failure_rate, Some(0.05));
        assert_eq!(counters.append_success_rate, None);
        assert_eq!(counters.replay_success_rate, Some(1.0));
        let time = ProcessingTime { event_type: "a".to_owned(), count: 4, average_ms: 10.0 };
        assert_eq!(counters.processing_time, [time]);
    }
}
