//! What publishers, consumers and replays counted, summed up.

use std::collections::BTreeMap;

use domain::{
    DeadLetterState,
    ports::{DeadLetterCount, StatSample},
    stats,
};
use serde::Serialize;

use crate::{
    context::Context,
    errors::CliError,
    output::{escape, table::Table},
};

/// Counters over some time. A rate is none where nothing was counted.
#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Counters {
    admitted: u64,
    rejected: u64,
    validation_failure_rate: Option<f64>,
    appended: u64,
    append_failed: u64,
    append_success_rate: Option<f64>,
    delivered: u64,
    handled: u64,
    failed_attempts: u64,
    retried: u64,
    dead_lettered: u64,
    dead_letters_closed: u64,
    dropped: u64,
    expired: u64,
    replay_handled: u64,
    replay_failed: u64,
    replay_skipped: u64,
    replay_success_rate: Option<f64>,
    processing_time: Vec<ProcessingTime>,
}

/// How long handlers took for events of a type, whatever came of it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessingTime {
    #[serde(rename = "type")]
    event_type: String,
    count: u64,
    average_ms: f64,
}

/// Dead letters of all groups by state, now.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct DeadLetters {
    open: u64,
    redriving: u64,
    handled: u64,
    discarded: u64,
}

impl Counters {
    /// Sums samples up.
    pub(super) fn of<'s>(samples: impl IntoIterator<Item = &'s StatSample>) -> Self {
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
    fn is_empty(&self) -> bool {
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
pub(super) fn dead_letters(counts: &[DeadLetterCount]) -> DeadLetters {
    let mut sum = DeadLetters::default();
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

/// Prints counters for people; nothing where nothing was counted.
pub(super) fn print(
    recent: &Counters,
    all: &Counters,
    letters: &DeadLetters,
    cx: &mut Context<'_>,
) -> Result<(), CliError> {
    if all.is_empty() && *letters == DeadLetters::default() {
        return Ok(());
    }
    let mut table = Table::new(&["counted", "last 15 min", "in all"]);
    (1..3).for_each(|column| table.right(column));
    let mut number = |name: &str, one: u64, both: u64| {
        if both > 0 {
            table.row([name, &one.to_string(), &both.to_string()]);
        }
    };
    number("admitted", recent.admitted, all.admitted);
    number("rejected", recent.rejected, all.rejected);
    number("appended", recent.appended, all.appended);
    number("append failed", recent.append_failed, all.append_failed);
    number("delivered", recent.delivered, all.delivered);
    number("handled", recent.handled, all.handled);
    number("failed attempts", recent.failed_attempts, all.failed_attempts);
    number("retried", recent.retried, all.retried);
    number("dead-lettered", recent.dead_lettered, all.dead_lettered);
    number("dead letters closed", recent.dead_letters_closed, all.dead_letters_closed);
    number("dropped", recent.dropped, all.dropped);
    number("expired", recent.expired, all.expired);
    number("replays handled", recent.replay_handled, all.replay_handled);
    number("replays failed", recent.replay_failed, all.replay_failed);
    number("replays skipped", recent.replay_skipped, all.replay_skipped);
    let mut rate = |name: &str, one: Option<f64>, both: Option<f64>| {
        if both.is_some() {
            table.row([name, &percent(one), &percent(both)]);
        }
    };
    rate("validation failures", recent.validation_failure_rate, all.validation_failure_rate);
    rate("append success", recent.append_success_rate, all.append_success_rate);
    rate("replay success", recent.replay_success_rate, all.replay_success_rate);
    cx.printer.raw(b"\n")?;
    cx.printer.table(table)?;
    print_times(recent, all, cx)?;
    if *letters == DeadLetters::default() {
        return Ok(());
    }
    cx.printer.raw(b"\n")?;
    cx.printer.line(&format!(
        "dead letters now: {} open, {} redriving, {} handled, {} discarded",
        letters.open, letters.redriving, letters.handled, letters.discarded
    ))
}

fn print_times(recent: &Counters, all: &Counters, cx: &mut Context<'_>) -> Result<(), CliError> {
    if all.processing_time.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["handlers' time by type", "attempts", "average", "last 15 min"]);
    (1..4).for_each(|column| table.right(column));
    for time in &all.processing_time {
        let lately = recent.processing_time.iter().find(|other| other.event_type == time.event_type);
        table.row([
            escape::short(&time.event_type, 60),
            time.count.to_string(),
            milliseconds(time.average_ms),
            lately.map_or_else(|| "-".to_owned(), |time| milliseconds(time.average_ms)),
        ]);
    }
    cx.printer.raw(b"\n")?;
    cx.printer.table(table)
}

fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.2} %", rate * 100.0))
}

fn milliseconds(average: f64) -> String {
    format!("{average:.1} ms")
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
