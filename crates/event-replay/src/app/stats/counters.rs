//! The sums of the counters of publishers, consumers and replays.

use std::collections::BTreeMap;

use domain::{
    DeadLetterState,
    ports::{DeadLetterCount, StatSample},
    stats,
};
use serde::Serialize;

/// Counters over a period. A rate is `None` if it has no counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Admitted events.
    pub admitted: u64,
    /// Refused events.
    pub rejected: u64,
    /// The share of refused events, from 0 to 1.
    pub validation_failure_rate: Option<f64>,
    /// Stored events.
    pub appended: u64,
    /// Events that could not be stored.
    pub append_failed: u64,
    /// The share of stored events, from 0 to 1.
    pub append_success_rate: Option<f64>,
    /// Started deliveries.
    pub delivered: u64,
    /// Handled deliveries.
    pub handled: u64,
    /// Failed attempts.
    pub failed_attempts: u64,
    /// Retries: attempts after the first.
    pub retried: u64,
    /// Deliveries that became dead letters.
    pub dead_lettered: u64,
    /// Closed dead letters.
    pub dead_letters_closed: u64,
    /// Deliveries that were given up on and dropped.
    pub dropped: u64,
    /// Deliveries that expired.
    pub expired: u64,
    /// Replayed events that were handled.
    pub replay_handled: u64,
    /// Replayed events that failed.
    pub replay_failed: u64,
    /// Replayed events that were skipped.
    pub replay_skipped: u64,
    /// The share of handled events among the replayed events that were handled or failed, from 0 to 1.
    pub replay_success_rate: Option<f64>,
    /// The time of handlers, by event type.
    pub processing_time: Vec<ProcessingTime>,
}

/// The time of handlers for one event type, for every outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessingTime {
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The number of attempts.
    pub count: u64,
    /// The average time of an attempt, in milliseconds.
    pub average_ms: f64,
}

/// The current number of dead letters of all groups, by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DeadLetterCounts {
    /// Open: an operator must act.
    pub open: u64,
    /// Redriving: on the way to the group again.
    pub redriving: u64,
    /// Handled after a redrive.
    pub handled: u64,
    /// Discarded without handling.
    pub discarded: u64,
}

impl Counters {
    /// Adds up samples.
    pub fn of<'s>(samples: impl IntoIterator<Item = &'s StatSample>) -> Self {
        let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
        let mut times: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for sample in samples {
            let total = totals.entry(&sample.name).or_default();
            *total = total.saturating_add(sample.count);
            // The time of failed attempts counts too.
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

    /// Returns whether all counters are zero.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Returns the share of `part` in the sum of both, from 0 to 1.
fn share(part: u64, rest: u64) -> Option<f64> {
    let whole = part as f64 + rest as f64;
    (whole > 0.0).then(|| rounded(part as f64 / whole))
}

/// Rounds to four decimal places, which is precise enough for counters.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// Adds up dead letters by state.
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
