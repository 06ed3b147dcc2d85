//! A summary of the last minutes for health checks: admitted, refused and failed events, and the time of handlers.

use std::collections::BTreeMap;

use domain::{ports::StatSample, stats};
use jiff::Timestamp;
use serde::Serialize;

use crate::meter::minute_of;

/// Minutes of a window, without the current minute.
pub const WINDOW_MINUTES: i64 = 15;
/// The least number of samples for a rate. A rate of fewer samples has no meaning.
pub const MIN_SAMPLES: u64 = 20;

/// The results of handlers for events of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Processing {
    /// Deliveries that were handled.
    pub handled: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// The total time of all attempts, in microseconds. Failed attempts count, because a handler that always reaches
    /// its time limit is slow too.
    pub micros: u64,
}

impl Processing {
    /// Returns the number of attempts, handled and failed.
    pub fn attempts(&self) -> u64 {
        self.handled.saturating_add(self.failed_attempts)
    }

    /// Returns the average time of an attempt, in milliseconds. Returns none if there was no attempt.
    pub fn average_ms(&self) -> Option<f64> {
        (self.attempts() > 0).then(|| self.micros as f64 / self.attempts() as f64 / 1000.0)
    }

    /// Returns the share of failed attempts, from 0 to 1. Returns none for fewer than [`MIN_SAMPLES`] attempts.
    pub fn failure_rate(&self) -> Option<f64> {
        rate(self.failed_attempts, self.handled)
    }
}

/// The sums of the samples of the last minutes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Events that were admitted.
    pub admitted: u64,
    /// Events that were refused.
    pub rejected: u64,
    /// Events of appends that the store answered: stored, already stored, or in conflict.
    pub appended: u64,
    /// The total time of these appends, in microseconds.
    pub append_micros: u64,
    /// Events whose append failed permanently.
    pub append_failed: u64,
    /// Deliveries handed to handlers, counted once for each attempt.
    pub delivered: u64,
    /// Deliveries that were scheduled for a retry.
    pub retried: u64,
    /// Deliveries that became dead letters.
    pub dead_lettered: u64,
    /// Dead letters that were closed.
    pub dead_letters_closed: u64,
    /// Deliveries that the group gave up on without keeping a dead letter.
    pub dropped: u64,
    /// Deliveries that were skipped after their expiry.
    pub expired: u64,
    /// Refused events by the type that they claim. The type is empty if it is unknown.
    pub rejected_by_type: BTreeMap<String, u64>,
    /// The results of handlers, by type.
    pub processing: BTreeMap<String, Processing>,
}

impl Window {
    /// Returns the first minute of the window that ends at `now`. The window needs the samples from this minute on
    /// ([`domain::ports::StatsStore::stats`]).
    pub fn first_minute(now: Timestamp) -> i64 {
        minute_of(now) - WINDOW_MINUTES
    }

    /// Sums up the samples of the last 15 whole minutes and of the current minute. Skips older samples and merged
    /// samples.
    pub fn of(samples: &[StatSample], now: Timestamp) -> Self {
        let first = Self::first_minute(now);
        let mut window = Self::default();
        for sample in samples.iter().filter(|sample| sample.minute >= first && sample.minute != 0) {
            window.add(sample);
        }
        window
    }

    fn add(&mut self, sample: &StatSample) {
        let total = match sample.name.as_str() {
            stats::ADMITTED => &mut self.admitted,
            stats::REJECTED => {
                *self.rejected_by_type.entry(sample.label.clone()).or_default() += sample.count;
                &mut self.rejected
            }
            stats::APPENDED => {
                self.append_micros = self.append_micros.saturating_add(sample.sum);
                &mut self.appended
            }
            stats::APPEND_FAILED => &mut self.append_failed,
            stats::DELIVERED => &mut self.delivered,
            stats::RETRIED => &mut self.retried,
            stats::DEAD_LETTERED => &mut self.dead_lettered,
            stats::DEAD_LETTERS_CLOSED => &mut self.dead_letters_closed,
            stats::DROPPED => &mut self.dropped,
            stats::EXPIRED => &mut self.expired,
            stats::HANDLED => {
                let of_type = self.processing.entry(sample.label.clone()).or_default();
                of_type.micros = of_type.micros.saturating_add(sample.sum);
                &mut of_type.handled
            }
            stats::FAILED_ATTEMPTS => {
                let of_type = self.processing.entry(sample.label.clone()).or_default();
                of_type.micros = of_type.micros.saturating_add(sample.sum);
                &mut of_type.failed_attempts
            }
            _ => return,
        };
        *total = total.saturating_add(sample.count);
    }

    /// Returns the share of refused events, from 0 to 1. Returns none for fewer than [`MIN_SAMPLES`] events.
    pub fn validation_failure_rate(&self) -> Option<f64> {
        rate(self.rejected, self.admitted)
    }

    /// Returns the share of events whose append failed, from 0 to 1. Returns none for fewer than [`MIN_SAMPLES`]
    /// events.
    pub fn append_failure_rate(&self) -> Option<f64> {
        rate(self.append_failed, self.appended)
    }

    /// Returns the growth of the number of open dead letters. It is negative if more were closed than made.
    pub fn dead_letter_growth(&self) -> i64 {
        let of = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        of(self.dead_lettered) - of(self.dead_letters_closed)
    }

    /// Returns the average time of an append for each event, in milliseconds. Returns none if no append was answered.
    pub fn average_append_ms(&self) -> Option<f64> {
        (self.appended > 0).then(|| self.append_micros as f64 / self.appended as f64 / 1000.0)
    }

    /// Returns the results of handlers for all types together.
    pub fn all_processing(&self) -> Processing {
        self.processing.values().fold(Processing::default(), |sum, of_type| Processing {
            handled: sum.handled.saturating_add(of_type.handled),
            failed_attempts: sum.failed_attempts.saturating_add(of_type.failed_attempts),
            micros: sum.micros.saturating_add(of_type.micros),
        })
    }

    /// Returns the results of handlers for all types together. Each of many types may have too few attempts for a rate.
    pub fn processing_of_all(&self) -> Processing {
        self.processing.values().fold(Processing::default(), |all, of_type| Processing {
            handled: all.handled.saturating_add(of_type.handled),
            failed_attempts: all.failed_attempts.saturating_add(of_type.failed_attempts),
            micros: all.micros.saturating_add(of_type.micros),
        })
    }

    /// Returns the types with the longest average time of an attempt, slowest first. Each type has at least
    /// [`MIN_SAMPLES`] attempts.
    pub fn slowest(&self, limit: usize) -> Vec<(&str, f64)> {
        let mut by_type: Vec<(&str, f64)> = self
            .processing
            .iter()
            .filter(|(_, of_type)| of_type.attempts() >= MIN_SAMPLES)
            .filter_map(|(name, of_type)| Some((name.as_str(), of_type.average_ms()?)))
            .collect();
        by_type.sort_by(|one, other| other.1.total_cmp(&one.1));
        by_type.truncate(limit);
        by_type
    }
}

/// Returns the share of `bad` in the total, if the total is at least [`MIN_SAMPLES`].
fn rate(bad: u64, good: u64) -> Option<f64> {
    let all = bad.saturating_add(good);
    (all >= MIN_SAMPLES).then(|| bad as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "2024-06-01T12:00:30Z";

    fn noon() -> Timestamp {
        NOON.parse().unwrap()
    }

    fn sample(ago: i64, name: &str, label: &str, count: u64, sum: u64) -> StatSample {
        let minute = minute_of(noon()) - ago;
        StatSample { minute, name: name.to_owned(), label: label.to_owned(), count, sum }
    }

    #[test]
    fn a_window_sums_up_the_last_fifteen_minutes_and_nothing_older() {
        let samples = [
            StatSample { minute: 0, ..sample(0, stats::ADMITTED, "a", 1000, 0) },
            sample(16, stats::ADMITTED, "a", 100, 0),
            sample(15, stats::ADMITTED, "a", 10, 0),
            sample(0, stats::ADMITTED, "b", 5, 0),
            sample(3, stats::REJECTED, "a", 3, 0),
            sample(3, stats::REJECTED, "", 2, 0),
            sample(3, "of another release", "a", 2, 0),
        ];
        let window = Window::of(&samples, noon());
        assert_eq!((window.admitted, window.rejected), (15, 5));
        assert_eq!(window.rejected_by_type, [(String::new(), 2), ("a".to_owned(), 3)].into());
        assert_eq!(window.validation_failure_rate(), Some(0.25));
    }

    #[test]
    fn a_rate_of_few_is_none() {
        let few = Window { appended: 10, append_failed: 9, ..Window::default() };
        assert_eq!((few.append_failure_rate(), few.validation_failure_rate()), (None, None));
        let enough = Window { appended: 15, append_failed: 5, ..Window::default() };
        assert_eq!(enough.append_failure_rate(), Some(0.25));
        assert_eq!(Window::default().average_append_ms(), None);
    }

    #[test]
    fn processing_is_told_by_type_with_the_slowest_first() {
        let samples = [
            sample(1, stats::HANDLED, "slow", 10, 50_000),
            sample(2, stats::HANDLED, "slow", 10, 150_000),
            sample(2, stats::FAILED_ATTEMPTS, "slow", 5, 9_000_000),
            sample(2, stats::HANDLED, "fast", 40, 40_000),
            sample(2, stats::HANDLED, "seldom", 1, 9_000_000),
        ];
        let window = Window::of(&samples, noon());
        assert_eq!(window.slowest(10), [("slow", 368.0), ("fast", 1.0)]);
        assert_eq!(window.slowest(1).len(), 1);
        let slow = window.processing["slow"];
        assert_eq!((slow.handled, slow.failed_attempts, slow.failure_rate()), (20, 5, Some(0.2)));
        assert_eq!(window.all_processing().handled, 61);
    }

    #[test]
    fn dead_letters_grow_by_those_made_less_those_closed() {
        let samples = [
            sample(1, stats::DEAD_LETTERED, "g", 7, 0),
            sample(1, stats::DEAD_LETTERS_CLOSED, "g", 9, 0),
            sample(1, stats::APPENDED, "", 4, 8_000),
            sample(1, stats::APPEND_FAILED, "", 1, 0),
        ];
        let window = Window::of(&samples, noon());
        assert_eq!((window.dead_lettered, window.dead_letter_growth()), (7, -2));
        assert_eq!((window.average_append_ms(), window.append_failed), (Some(2.0), 1));
    }
}
