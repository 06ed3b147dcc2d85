//! The alerts: checks of the counters of the last minutes.

use std::time::Duration;

use domain::{DeadLetterState, stats as names, time::until};
use jiff::Timestamp;
use stats::{MIN_SAMPLES, Processing, WINDOW_MINUTES, Window};

use crate::{
    app::{error::AppError, store::clock},
    check::{Check, Status, measured},
    handle::StoreHandle,
    settings::Settings,
    text::{
        escape,
        plural::{self, count},
        time,
    },
};

/// The percentage of refused events above which the check fails. A higher share points to faulty publishers or schemas.
const MAX_REFUSED_PERCENT: u64 = 5;
/// The largest average time of an attempt, in milliseconds.
const MAX_AVERAGE_MS: u64 = 10_000;

/// The number of open dead letters from which the check fails. Such a number is not the problem of a single event.
const MAX_OPEN_DEAD_LETTERS: u64 = 100;
/// The largest age of an open dead letter. Older ones count as forgotten.
const MAX_DEAD_LETTER_AGE: Duration = Duration::from_secs(24 * 3600);
/// The percentage of failed attempts, of one type or of all types, above which the check warns.
const MIN_FAILING_PERCENT: u64 = 5;
/// The percentage of failed attempts, of one type or of all types, above which the check fails. The handler is then
/// probably down.
const MAX_FAILING_PERCENT: u64 = 50;

/// Evaluates the alerts.
pub(super) async fn checks(store: &StoreHandle, settings: &Settings) -> Result<Vec<Check>, AppError> {
    let now = clock().now();
    let samples = store.stats(None).await?;
    let window = Window::of(&samples, now);
    let dropped_ever =
        samples.iter().filter(|sample| sample.name == names::DROPPED).map(|sample| sample.count);
    let letters = store.count_dead_letters().await?;
    let open = letters.iter().filter(|count| count.state == DeadLetterState::Open);
    let oldest = open.clone().map(|count| count.oldest).min();
    let most = open.clone().max_by_key(|count| count.count);
    let most = most.map(|count| (count.group.as_str(), count.count));
    let open = open.map(|count| count.count).sum();
    let timeout = humantime::format_duration(settings.handler_timeout).to_string();
    Ok(vec![
        validation(&window),
        storage(&window),
        dead_letters(&window, open, settings.dead_letters),
        open_dead_letters(open, most, oldest.map(|oldest| (oldest, until(oldest, now)))),
        dropped(&window, dropped_ever.sum()),
        failing_attempts(&window),
        processing(&window, &timeout),
    ])
}

fn validation(window: &Window) -> Check {
    let name = "validation-failures";
    let seen = window.admitted.saturating_add(window.rejected);
    let Some(rate) = window.validation_failure_rate() else {
        return too_few(name, seen, "events").threshold(MAX_REFUSED_PERCENT);
    };
    let percent = rate * 100.0;
    let said = format!("{percent:.1} % of {} refused", count(seen, "event"));
    let check = match percent > MAX_REFUSED_PERCENT as f64 {
        false => Check::new(name, Status::Pass, said),
        true => {
            let most = window.rejected_by_type.iter().max_by_key(|(_, refused)| **refused);
            let types = match most {
                Some((name, refused)) if !name.is_empty() => {
                    format!(", most of type {} ({refused})", escape::short(name, 60))
                }
                _ => String::new(),
            };
            // Refused events are not stored: only the publisher has them.
            let advice = "publish a refused event again to see what it violates; `event-replay schemas show TYPE` has the schema";
            Check::new(name, Status::Fail, format!("{said}{types}; {advice}"))
        }
    };
    check.observed(measured(percent), "percent").threshold(MAX_REFUSED_PERCENT)
}

/// The check fails at the first append that failed permanently, because its event is not stored.
fn storage(window: &Window) -> Check {
    let failed = window.append_failed;
    let check = match failed {
        0 => Check::new(
            "storage-failures",
            Status::Pass,
            format!("no append failed in {WINDOW_MINUTES} minutes"),
        ),
        _ => {
            let message = format!(
                "{} could not be stored in {WINDOW_MINUTES} minutes; disk space and the other checks may say \
                 why, and publishing them again stores them",
                count(failed, "event")
            );
            Check::new("storage-failures", Status::Fail, message)
        }
    };
    check.observed(failed, "events").threshold(0)
}

fn dead_letters(window: &Window, open: u64, kept: bool) -> Check {
    let name = "dead-letters";
    // Dead letters that were closed by other means are no longer open, but the counters still contain them.
    let grown = u64::try_from(window.dead_letter_growth()).unwrap_or(0).min(open);
    let check = match (grown, kept) {
        (0, true) => Check::new(name, Status::Pass, format!("{open} open, not growing")),
        (0, false) => {
            let dropped = plural::of(window.dropped, "delivery was dropped", "deliveries were dropped");
            let message =
                format!("{open} open; dead letters are off, and {dropped} in {WINDOW_MINUTES} minutes");
            Check::new(name, if window.dropped > 0 { Status::Warn } else { Status::Pass }, message)
        }
        _ => {
            let message = format!(
                "{grown} new in {WINDOW_MINUTES} minutes, {open} open; `event-replay dead-letters list --by \
                 fingerprint` shows what fails"
            );
            Check::new(name, Status::Fail, message)
        }
    };
    check.observed(grown, "dead letters").threshold(0)
}

/// An event with a dead letter was not handled. So the check warns until the dead letter is redriven or discarded.
fn open_dead_letters(open: u64, most: Option<(&str, u64)>, oldest: Option<(Timestamp, Duration)>) -> Check {
    let name = "open-dead-letters";
    let check = match oldest.filter(|_| open > 0) {
        None => Check::new(name, Status::Pass, "none is open"),
        Some((oldest, age)) => {
            let is_old = age > MAX_DEAD_LETTER_AGE;
            let status = if open >= MAX_OPEN_DEAD_LETTERS || is_old { Status::Fail } else { Status::Warn };
            let of_group = most.map_or_else(String::new, |(group, of_group)| match of_group == open {
                true => format!(", all of group {}", escape::short(group, 60)),
                false => format!(", most of group {} ({of_group})", escape::short(group, 60)),
            });
            let message = format!(
                "{}{of_group}, the oldest since {}; `event-replay dead-letters list --by \
                 fingerprint` shows what failed, `event-replay dead-letters redrive` sends them again",
                plural::of(open, "open dead letter", "open dead letters"),
                time::to_milliseconds(oldest),
            );
            Check::new(name, status, message)
        }
    };
    check.observed(open, "dead letters").threshold(MAX_OPEN_DEAD_LETTERS)
}

/// Without dead letters, a delivery that the group gives up on is lost to it. So the check fails at the first one.
fn dropped(window: &Window, ever: u64) -> Check {
    let name = "dropped-deliveries";
    let check = match (window.dropped, ever) {
        (0, 0) => Check::new(name, Status::Pass, "no delivery was dropped"),
        (0, ever) => {
            let message = format!(
                "none was dropped in {WINDOW_MINUTES} minutes, {ever} ever; only a replay brings their events to the group"
            );
            Check::new(name, Status::Pass, message)
        }
        (dropped, _) => {
            let message = format!(
                "{} given up on and dropped in {WINDOW_MINUTES} minutes, for dead letters are off; set \
                 dead_letters.enabled = true (ENABLE_DEAD_LETTER_QUEUE), and replay their events into the group",
                plural::of(dropped, "delivery was", "deliveries were"),
            );
            Check::new(name, Status::Fail, message)
        }
    };
    check.observed(window.dropped, "deliveries").threshold(0)
}

/// Failed attempts are retried, so some failures are normal. A majority of failures is an outage that has not produced
/// dead letters yet.
fn failing_attempts(window: &Window) -> Check {
    let name = "failing-attempts";
    let rated = rated(window).filter_map(|(of, some)| Some((of, some.failure_rate()?, some)));
    let worst = rated.max_by(|(_, one, _), (_, other, _)| one.total_cmp(other));
    let Some((of, rate, some)) = worst else {
        let attempts = window.processing_of_all().attempts();
        return too_few(name, attempts, "attempts").threshold(MAX_FAILING_PERCENT);
    };
    let percent = rate * 100.0;
    let said = format!(
        "{} of {}{of} failed in {WINDOW_MINUTES} minutes ({percent:.1} %)",
        some.failed_attempts,
        count(some.attempts(), "attempt"),
    );
    let check = match percent {
        percent if percent > MAX_FAILING_PERCENT as f64 => {
            // A dead letter is not retried, so the list of failing keys does not show it.
            let advice = "`event-replay groups show NAME` lists the failing keys and their errors, \
                 `event-replay dead-letters list --by fingerprint` the dead letters";
            Check::new(name, Status::Fail, format!("{said}; {advice}"))
        }
        percent if percent > MIN_FAILING_PERCENT as f64 => Check::new(name, Status::Warn, said),
        _ => Check::new(name, Status::Pass, said),
    };
    check.observed(measured(percent), "percent").threshold(MAX_FAILING_PERCENT)
}

fn processing(window: &Window, timeout: &str) -> Check {
    let name = "processing-time";
    let threshold = MAX_AVERAGE_MS / 1000;
    let timed = rated(window).filter(|(_, some)| some.attempts() >= MIN_SAMPLES);
    let timed = timed.filter_map(|(of, some)| Some((of, some.average_ms()?)));
    let Some((of, average)) = timed.max_by(|(_, one), (_, other)| one.total_cmp(other)) else {
        let attempts = window.processing_of_all().attempts();
        return too_few(name, attempts, "attempts").threshold(threshold);
    };
    let seconds = average / 1000.0;
    let took = if seconds < 1.0 { format!("{average:.1} ms") } else { format!("{seconds:.1} s") };
    let said = format!("an attempt{of} takes {took} on average");
    let check = match average > MAX_AVERAGE_MS as f64 {
        false => Check::new(name, Status::Pass, said),
        true => {
            let message = format!("{said}; a handler's time is up after {timeout} (handlers.timeout)");
            Check::new(name, Status::Fail, message)
        }
    };
    check.observed(measured(seconds), "seconds").threshold(threshold)
}

/// Returns the figures with their names: all types together, then each type. The single type is the better name if both
/// are equally bad.
fn rated(window: &Window) -> impl Iterator<Item = (String, Processing)> {
    let of_all = (window.processing.len() > 1).then(|| (String::new(), window.processing_of_all()));
    let by_type = window.processing.iter();
    of_all
        .into_iter()
        .chain(by_type.map(|(name, some)| (format!(" of type {}", escape::short(name, 60)), *some)))
}

fn too_few(name: &'static str, seen: u64, of_what: &str) -> Check {
    let message = format!("not enough data ({seen} of {MIN_SAMPLES} {of_what} in {WINDOW_MINUTES} minutes)");
    Check::new(name, Status::Pass, message)
}

#[cfg(test)]
mod tests {
    use domain::ports::StatSample;

    use super::*;

    fn window(samples: &[(&str, &str, u64, u64)]) -> Window {
        let now = clock().now();
        let minute = Window::first_minute(now) + 1;
        let samples: Vec<StatSample> = samples
            .iter()
            .map(|&(name, label, count, sum)| StatSample {
                minute,
                name: name.to_owned(),
                label: label.to_owned(),
                count,
                sum,
            })
            .collect();
        Window::of(&samples, now)
    }

    #[test]
    fn more_than_one_in_twenty_refused_is_a_failure_and_exactly_one_is_not() {
        let of = |rejected, admitted| {
            validation(&window(&[(names::ADMITTED, "a", admitted, 0), (names::REJECTED, "a", rejected, 0)]))
                .status
        };
        assert_eq!(of(1, 19), Status::Pass);
        assert_eq!(of(2, 19), Status::Fail);
        assert_eq!(of(19, 0), Status::Pass, "too few to say");
        let refused = window(&[(names::ADMITTED, "a", 1, 0), (names::REJECTED, "a", 20, 0)]);
        let said = validation(&refused).message;
        assert!(said.contains("publish a refused event again") && !said.contains("schemas check"), "{said}");
    }

    #[test]
    fn dead_letters_that_were_closed_meanwhile_do_not_grow() {
        let grown = window(&[(names::DEAD_LETTERED, "g", 3, 0), (names::DEAD_LETTERS_CLOSED, "g", 1, 0)]);
        assert_eq!(dead_letters(&grown, 2, true).status, Status::Fail);
        assert_eq!(dead_letters(&grown, 0, true).status, Status::Pass);
        assert_eq!(dead_letters(&window(&[]), 50, true).status, Status::Pass);
    }

    #[test]
    fn open_dead_letters_stay_a_warning_and_many_or_old_ones_a_failure() {
        let of = |open, hours: u64| {
            let oldest = Some((clock().now(), Duration::from_secs(hours * 3600)));
            open_dead_letters(open, None, oldest).status
        };
        assert_eq!(open_dead_letters(0, None, None).status, Status::Pass);
        assert_eq!(
            [of(1, 0), of(99, 24), of(100, 0), of(1, 25)],
            [Status::Warn, Status::Warn, Status::Fail, Status::Fail]
        );
    }

    #[test]
    fn open_dead_letters_name_the_group_that_has_most_of_them() {
        let of = |most| open_dead_letters(5, Some(most), Some((clock().now(), Duration::ZERO))).message;
        assert!(
            of(("mailer", 5)).contains("5 open dead letters, all of group mailer, the oldest"),
            "{}",
            of(("mailer", 5))
        );
        assert!(of(("mailer", 3)).contains("5 open dead letters, most of group mailer (3), the oldest"));
    }

    #[test]
    fn a_dropped_delivery_is_a_failure_under_any_settings() {
        let lost = window(&[(names::DROPPED, "g", 12, 0)]);
        let said = dropped(&lost, 12);
        assert_eq!(said.status, Status::Fail);
        assert!(said.message.contains("12 deliveries were given up on and dropped"), "{}", said.message);
        assert_eq!(dropped(&window(&[]), 12).status, Status::Pass);
    }

    #[test]
    fn attempts_that_fail_are_a_warning_and_most_of_them_a_failure() {
        let of = |failed, handled| {
            let samples = [(names::FAILED_ATTEMPTS, "a", failed, 0), (names::HANDLED, "a", handled, 0)];
            failing_attempts(&window(&samples)).status
        };
        assert_eq!(
            [of(1, 19), of(2, 18), of(10, 10), of(11, 9)],
            [Status::Pass, Status::Warn, Status::Warn, Status::Fail]
        );
        assert_eq!(of(19, 0), Status::Pass, "too few to say");
        let types = ["a", "b", "c"].map(|name| (names::FAILED_ATTEMPTS, name, 10, 0));
        let of_many = failing_attempts(&window(&types));
        assert_eq!(of_many.status, Status::Fail, "too few of each type, and all of them failed");
        assert!(of_many.message.starts_with("30 of 30 attempts failed in"), "{}", of_many.message);
        let down = window(&[(names::FAILED_ATTEMPTS, "a", 120, 0), (names::HANDLED, "a", 60, 0)]);
        let said = failing_attempts(&down).message;
        assert!(said.starts_with("120 of 180 attempts of type a failed in 15 minutes (66.7 %)"), "{said}");
        assert!(said.contains("groups show NAME") && said.contains("dead-letters list"), "{said}");
    }

    #[test]
    fn a_type_that_takes_more_than_ten_seconds_on_average_is_a_failure() {
        let of = |count: u64, seconds: u64| {
            let slow = (names::HANDLED, "slow", count, count * seconds * 1_000_000);
            processing(&window(&[slow, (names::HANDLED, "quick", 1000, 1000)]), "30s").status
        };
        assert_eq!(of(20, 11), Status::Fail);
        assert_eq!(of(20, 10), Status::Pass);
        assert_eq!(of(19, 100), Status::Pass, "too few to say");
        let types = ["a", "b"].map(|name| (names::HANDLED, name, 10, 10 * 11_000_000));
        assert_eq!(processing(&window(&types), "30s").status, Status::Fail, "too few of each type");
    }

    #[test]
    fn an_append_that_failed_for_good_is_a_failure() {
        assert_eq!(storage(&window(&[(names::APPENDED, "", 1000, 5)])).status, Status::Pass);
        assert_eq!(storage(&window(&[(names::APPEND_FAILED, "", 1, 0)])).status, Status::Fail);
    }
}
