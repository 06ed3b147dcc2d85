//! Arithmetic of instants, and their stored numbers.
//!
//! [`later`] and [`earlier`] never fail: they stop at the first and the last instant. [`checked_later`] and
//! [`checked_earlier`] are for input that must be refused instead.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Returns the instant this much later, or the last instant.
pub fn later(instant: Timestamp, by: Duration) -> Timestamp {
    checked_later(instant, by).unwrap_or(Timestamp::MAX)
}

/// Returns the instant this much earlier, or the first instant.
pub fn earlier(instant: Timestamp, by: Duration) -> Timestamp {
    checked_earlier(instant, by).unwrap_or(Timestamp::MIN)
}

/// Returns the instant this much later, or none if it is beyond the last instant.
pub fn checked_later(instant: Timestamp, by: Duration) -> Option<Timestamp> {
    instant.checked_add(SignedDuration::try_from(by).ok()?).ok()
}

/// Returns the instant this much earlier, or none if it is before the first instant.
pub fn checked_earlier(instant: Timestamp, by: Duration) -> Option<Timestamp> {
    instant.checked_sub(SignedDuration::try_from(by).ok()?).ok()
}

/// Returns the time from `now` until `then`. It is zero if `then` is in the past.
pub fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// Returns an instant as microseconds since the Unix epoch, rounded down. Every instant fits.
pub fn unix_micros(instant: Timestamp) -> i64 {
    instant.as_nanosecond().div_euclid(1000) as i64
}

/// Returns the instant of a number of microseconds since the Unix epoch. A number out of range gives the first or the
/// last instant.
pub fn from_unix_micros(micros: i64) -> Timestamp {
    let end = if micros < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_microsecond(micros).unwrap_or(end)
}

/// Returns the UTC day of an instant, counted from the Unix epoch.
pub fn day_of(instant: Timestamp) -> i64 {
    instant.as_nanosecond().div_euclid(i128::from(DAY_SECONDS) * 1_000_000_000) as i64
}

/// Returns the name of a day that is counted from the Unix epoch, as `2024-01-15`.
pub fn day_name(day: i64) -> String {
    let midnight = Timestamp::from_second(day.saturating_mul(DAY_SECONDS)).unwrap_or_default();
    midnight.to_string().split('T').next().unwrap_or_default().to_owned()
}

/// Returns a duration in whole microseconds, at most `u64::MAX`.
pub fn whole_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_stop_at_the_ends_of_time() {
        let (now, hour) = (Timestamp::UNIX_EPOCH, Duration::from_secs(3600));
        assert_eq!(earlier(later(now, hour), hour), now);
        for by in [Duration::MAX, Duration::from_secs(u64::MAX / 4)] {
            assert_eq!((later(now, by), earlier(now, by)), (Timestamp::MAX, Timestamp::MIN));
            assert_eq!((checked_later(now, by), checked_earlier(now, by)), (None, None));
        }
    }

    #[test]
    fn the_time_until_a_past_instant_is_zero() {
        let (now, hour) = (Timestamp::UNIX_EPOCH, Duration::from_secs(3600));
        assert_eq!(until(now, later(now, hour)), hour);
        assert_eq!(until(later(now, hour), now), Duration::ZERO);
    }

    #[test]
    fn microseconds_are_rounded_down_and_stop_at_the_ends_of_time() {
        for micros in [-1_000_001, -1, 0, 1, 1_700_000_000_000_000] {
            assert_eq!(unix_micros(from_unix_micros(micros)), micros);
        }
        let just_before_the_epoch = earlier(Timestamp::UNIX_EPOCH, Duration::from_nanos(1));
        assert_eq!(unix_micros(just_before_the_epoch), -1);
        assert_eq!(
            (from_unix_micros(i64::MIN), from_unix_micros(i64::MAX)),
            (Timestamp::MIN, Timestamp::MAX)
        );
        assert_eq!(whole_micros(Duration::MAX), u64::MAX);
    }
}
