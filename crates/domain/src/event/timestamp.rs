//! Strict RFC 3339 timestamps: every system must read a written timestamp as the same instant.

use jiff::{Timestamp, civil::DateTime, tz::Offset};
use thiserror::Error;

/// Errors of [`parse_timestamp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TimestampError {
    /// The text does not have the form of RFC 3339.
    #[error("a timestamp looks like 2024-01-15T10:30:00Z or 2024-01-15T10:30:00.123+01:00")]
    Form,
    /// The text has no offset from UTC, so it names no instant.
    #[error("a timestamp needs a zone: end it with Z or an offset such as +01:00")]
    NoZone,
    /// The text has a leap second or hour 24, which calendar libraries do not preserve.
    #[error("hours go from 00 to 23, minutes and seconds from 00 to 59 (leap seconds are not accepted)")]
    Clock,
    /// The day does not exist.
    #[error("there is no such day")]
    Day,
    /// The year is 0, or it is after 9999. Year 0 does not exist, and the form has no room for later years.
    #[error("years go from 0001 to 9999")]
    Year,
    /// The second has more than nine fractional digits.
    #[error("a timestamp has at most nine digits after the second")]
    Precision,
}

/// Reads an RFC 3339 timestamp.
///
/// # Errors
/// Returns an error when the text is not strict RFC 3339. Examples are a missing zone, a leap second, hour 24, a day
/// that does not exist, and year 0. Others are a space in place of the `T`, and more than nine fractional digits.
///
/// ```
/// use event_replay_domain::event::{TimestampError, parse_timestamp};
/// let noon = parse_timestamp("2024-01-15T12:00:00+02:00").unwrap();
/// assert_eq!(noon, parse_timestamp("2024-01-15T10:00:00Z").unwrap());
/// assert_eq!(parse_timestamp("2024-02-30T00:00:00Z"), Err(TimestampError::Day));
/// ```
pub fn parse_timestamp(text: &str) -> Result<Timestamp, TimestampError> {
    let bytes = text.as_bytes();
    let (date_time, rest) = bytes.split_at_checked(19).ok_or(TimestampError::Form)?;
    let separators = [(4, b"-"), (7, b"-"), (10, b"Tt"), (13, b":"), (16, b":")] as [(usize, &[u8]); 5];
    if separators.iter().any(|(at, allowed)| !allowed.contains(&date_time[*at])) {
        return Err(TimestampError::Form);
    }
    let [year, month, day] = [&date_time[..4], &date_time[5..7], &date_time[8..10]].map(digits);
    let [hour, minute, second] = [&date_time[11..13], &date_time[14..16], &date_time[17..19]].map(digits);
    let (nanosecond, zone) = fraction(rest)?;
    let offset = offset(zone)?;
    let (year, month, day) = (year?, month?, day?);
    let (hour, minute, second) = (hour?, minute?, second?);
    if year == 0 {
        return Err(TimestampError::Year);
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err(TimestampError::Clock);
    }
    let local = DateTime::new(
        year as i16,
        month as i8,
        day as i8,
        hour as i8,
        minute as i8,
        second as i8,
        nanosecond as i32,
    )
    .map_err(|_| TimestampError::Day)?;
    // An offset can move the first day of year 1 into year 0, which has no spelling in UTC.
    let instant = offset.to_timestamp(local).map_err(|_| TimestampError::Year)?;
    if instant.as_nanosecond() < FIRST_INSTANT { Err(TimestampError::Year) } else { Ok(instant) }
}

/// 0001-01-01T00:00:00Z in nanoseconds of the Unix epoch.
const FIRST_INSTANT: i128 = -62_135_596_800_000_000_000;

fn digits(bytes: &[u8]) -> Result<u32, TimestampError> {
    bytes.iter().try_fold(0, |number, byte| match byte {
        b'0'..=b'9' => Ok(number * 10 + u32::from(byte - b'0')),
        _ => Err(TimestampError::Form),
    })
}

/// Returns the nanoseconds and the rest of the text.
fn fraction(rest: &[u8]) -> Result<(u32, &[u8]), TimestampError> {
    let Some(after) = rest.strip_prefix(b".") else { return Ok((0, rest)) };
    let count = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (fraction, zone) = after.split_at(count);
    match count {
        0 => Err(TimestampError::Form),
        1..=9 => Ok((digits(fraction)? * 10u32.pow(9 - count as u32), zone)),
        _ => Err(TimestampError::Precision),
    }
}

fn offset(zone: &[u8]) -> Result<Offset, TimestampError> {
    match zone {
        [] => Err(TimestampError::NoZone),
        b"Z" | b"z" => Ok(Offset::UTC),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return Err(TimestampError::Clock);
            }
            let seconds = (hours * 3600 + minutes * 60) as i32;
            Offset::from_seconds(if *sign == b'-' { -seconds } else { seconds })
                .map_err(|_| TimestampError::Clock)
        }
        _ => Err(TimestampError::Form),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_time_is_refused_for_its_own_reason() {
        for (text, error) in [
            ("2024-01-15T23:59:60Z", TimestampError::Clock),
            ("2024-01-15T24:00:00Z", TimestampError::Clock),
            ("2024-01-15T10:00:00+24:00", TimestampError::Clock),
            ("2024-02-30T00:00:00Z", TimestampError::Day),
            ("2023-02-29T00:00:00Z", TimestampError::Day),
            ("2024-13-01T00:00:00Z", TimestampError::Day),
            ("0000-01-01T00:00:00Z", TimestampError::Year),
            ("2024-01-15T10:30:00", TimestampError::NoZone),
            ("2024-01-15T10:30:00.5", TimestampError::NoZone),
            ("2024-01-15 10:30:00Z", TimestampError::Form),
            ("2024-01-15T10:30:00.Z", TimestampError::Form),
            ("2024-01-15T10:30:00Z[UTC]", TimestampError::Form),
            ("2024-01-15T10:30:00+0100", TimestampError::Form),
            ("2024-01-15T10:30:00.0123456789Z", TimestampError::Precision),
            ("+002024-01-15T10:30Z", TimestampError::Form),
            ("2024-01-15", TimestampError::Form),
            ("", TimestampError::Form),
            ("２０２４-01-15T10:30:00Z", TimestampError::Form),
        ] {
            assert_eq!(parse_timestamp(text), Err(error), "{text}");
        }
    }

    #[test]
    fn every_digit_of_a_second_counts() {
        let base = parse_timestamp("2024-01-15T10:30:00Z").unwrap();
        let next = parse_timestamp("2024-01-15T10:30:00.000000001z").unwrap();
        assert_eq!(next.as_nanosecond() - base.as_nanosecond(), 1);
    }

    #[test]
    fn the_outermost_instants_have_a_place() {
        for text in ["0001-01-01T00:00:00Z", "9999-12-30T22:00:00Z"] {
            assert_eq!(parse_timestamp(text).unwrap().to_string(), text);
        }
    }
}
