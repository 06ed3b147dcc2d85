//! Points in time as people write them: RFC 3339, so long ago, or a time of today or yesterday.

use domain::{event::parse_timestamp, time::checked_earlier};
use jiff::{Timestamp, Zoned, civil::Time};

use super::number;

const FORMS: &str = "a time is RFC 3339 (2024-01-15T10:30:00Z), so long ago (2h, 30m, 7d), \
                     `now`, `today`, `today 09:00`, `yesterday` or `yesterday 18:30`";

/// Reads a point in time. Words such as `today` are of the machine's time zone.
pub fn point(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    // A text that looks like a date is judged as one, so that its error says what is wrong with it.
    if text.len() >= 8 && text.bytes().take(4).all(|byte| byte.is_ascii_digit()) && text.contains('-') {
        return parse_timestamp(text).map_err(|error| error.to_string());
    }
    relative(text, &Zoned::now())
}

fn relative(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (word, rest) = (word.to_ascii_lowercase(), rest.trim());
    match (word.as_str(), rest) {
        ("now", "") => Ok(now.timestamp()),
        ("today", clock) => at(now, clock),
        ("yesterday", clock) => at(&now.yesterday().map_err(|_| FORMS.to_owned())?, clock),
        _ => ago(text.strip_suffix("ago").unwrap_or(text), now),
    }
}

/// A time of day; none is midnight.
fn at(day: &Zoned, clock: &str) -> Result<Timestamp, String> {
    let time = match clock {
        "" => Time::midnight(),
        _ => time_of_day(clock)
            .ok_or_else(|| format!("{clock:?} is no time of day: write 09:00 or 18:30:15"))?,
    };
    day.date()
        .to_datetime(time)
        .to_zoned(day.time_zone().clone())
        .map(|zoned| zoned.timestamp())
        .map_err(|_| FORMS.to_owned())
}

fn time_of_day(clock: &str) -> Option<Time> {
    let mut parts = clock.split(':').map(|part| match part.len() {
        1 | 2 => part.parse::<i8>().ok().filter(|_| part.bytes().all(|byte| byte.is_ascii_digit())),
        _ => None,
    });
    let (hour, minute) = (parts.next()??, parts.next()??);
    let second = match parts.next() {
        Some(second) => second?,
        None => 0,
    };
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Time::new(hour, minute, second, 0).ok()
}

fn ago(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let duration = number::duration(text).map_err(|_| FORMS.to_owned())?;
    checked_earlier(now.timestamp(), duration).ok_or_else(|| "that is before the year 0001".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Zoned {
        "2024-03-10T12:00:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    #[test]
    fn words_are_of_the_day_and_zone_at_hand() {
        for (text, expected) in [
            ("now", "2024-03-10T11:00:00Z"),
            ("2h", "2024-03-10T09:00:00Z"),
            ("2h ago", "2024-03-10T09:00:00Z"),
            ("1h30m", "2024-03-10T09:30:00Z"),
            ("7d", "2024-03-03T11:00:00Z"),
            ("today", "2024-03-09T23:00:00Z"),
            ("today 09:00", "2024-03-10T08:00:00Z"),
            ("Yesterday 18:30", "2024-03-09T17:30:00Z"),
            ("yesterday", "2024-03-08T23:00:00Z"),
        ] {
            assert_eq!(relative(text, &noon()).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn times_that_are_none_are_refused() {
        for text in
            ["", "soon", "today 24:00", "today 9", "today 09:60", "tomorrow", "-2h", "2", "99999999999y"]
        {
            assert!(relative(text, &noon()).is_err(), "{text}");
        }
        for text in [
            "2024-02-30T00:00:00Z",
            "2024-01-15T23:59:60Z",
            "2024-01-15",
            "2024-01-15T10:00:00",
            "0000-01-01T00:00:00Z",
        ] {
            assert!(point(text).is_err(), "{text}");
        }
    }
}
