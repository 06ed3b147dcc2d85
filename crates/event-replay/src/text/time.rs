//! The parsing and printing of times: RFC 3339, a date, a duration ago, or a time of today or yesterday.

use domain::{event::parse_timestamp, time::checked_earlier};
use jiff::{
    Timestamp, Unit, Zoned,
    civil::{Date, Time},
};

use super::number;

const FORMS: &str = "a time is RFC 3339 (2024-01-15T10:30:00Z), a date (2024-01-15), a duration ago (2h, 30m, 7d), \
                     `now`, `today`, `today 09:00`, `yesterday` or `yesterday 18:30`";

/// Parses a point in time. A date means its first moment. Dates and words such as `today` are in the time zone of the
/// machine.
pub fn point(text: &str) -> Result<Timestamp, String> {
    read(text, &Zoned::now(), Edge::First)
}

/// Parses the end of a time range. A date means its last moment. Other texts mean the same as in [`point`].
pub fn last_point(text: &str) -> Result<Timestamp, String> {
    read(text, &Zoned::now(), Edge::Last)
}

/// The moment of a date that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    First,
    Last,
}

fn read(text: &str, now: &Zoned, edge: Edge) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(date) = date(text) {
        return moment(date?, now, edge);
    }
    // A text that looks like a date is parsed as a timestamp, so that the error names the actual problem.
    if text.len() >= 8 && text.bytes().take(4).all(|byte| byte.is_ascii_digit()) && text.contains('-') {
        return parse_timestamp(text).map_err(|error| error.to_string());
    }
    relative(text, now)
}

/// Parses a date. Returns `None` if the text does not have the form of a date.
fn date(text: &str) -> Option<Result<Date, String>> {
    let has_form = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    has_form.then(|| match text.parse::<Date>() {
        Ok(date) if date.year() >= 1 => Ok(date),
        _ => Err(format!("{text} is not a date of the calendar")),
    })
}

fn moment(date: Date, now: &Zoned, edge: Edge) -> Result<Timestamp, String> {
    let time = match edge {
        Edge::First => Time::midnight(),
        Edge::Last => Time::MAX,
    };
    let zoned = date.to_datetime(time).to_zoned(now.time_zone().clone());
    zoned.map(|zoned| zoned.timestamp()).map_err(|_| FORMS.to_owned())
}

/// Returns a time in RFC 3339, truncated to milliseconds.
pub fn to_milliseconds(at: Timestamp) -> String {
    let truncated = jiff::TimestampRound::new().smallest(Unit::Millisecond).mode(jiff::RoundMode::Trunc);
    at.round(truncated).unwrap_or(at).to_string()
}

/// Returns the distance from now as text: `2 min ago`, `in 3 h`, `just now`.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second() - at.as_second();
    let (number, unit) = match seconds.unsigned_abs() {
        0..5 => return "just now".to_owned(),
        seconds @ 5..60 => (seconds, "s"),
        seconds @ 60..3600 => (seconds / 60, "min"),
        seconds @ 3600..86_400 => (seconds / 3600, "h"),
        seconds if seconds < 2 * 86_400 => (1, "day"),
        seconds => (seconds / 86_400, "days"),
    };
    if seconds > 0 { format!("{number} {unit} ago") } else { format!("in {number} {unit}") }
}

/// Returns a duration in its two largest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `1 day 3 h`.
pub fn span(time: std::time::Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds % 86_400 / 3600, seconds % 3600 / 60);
    let day = if days == 1 { "day" } else { "days" };
    let (first, second) = match (days, hours, minutes) {
        (0, 0, 0) => (format!("{seconds} s"), (0, "")),
        (0, 0, _) => (format!("{minutes} min"), (seconds % 60, "s")),
        (0, _, _) => (format!("{hours} h"), (minutes, "min")),
        _ => (format!("{days} {day}"), (hours, "h")),
    };
    match second {
        (0, _) => first,
        (number, unit) => format!("{first} {number} {unit}"),
    }
}

/// Returns the distance from now if it is less than 30 days. Otherwise returns the date and the minute in UTC.
pub fn ago_or_date(at: Timestamp, now: Timestamp) -> String {
    let apart = (now.as_second() - at.as_second()).unsigned_abs();
    match apart < 30 * 86_400 {
        true => ago(at, now),
        false => at.strftime("%Y-%m-%d %H:%MZ").to_string(),
    }
}

fn relative(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let (word, rest) = (word.to_ascii_lowercase(), rest.trim());
    match (word.as_str(), rest) {
        ("now", "") => Ok(now.timestamp()),
        ("today", clock) => at(now, clock),
        ("yesterday", clock) => at(&now.yesterday().map_err(|_| FORMS.to_owned())?, clock),
        _ => so_long_ago(text.strip_suffix("ago").unwrap_or(text), now),
    }
}

/// Returns a time on a day. An empty text means midnight.
fn at(day: &Zoned, clock: &str) -> Result<Timestamp, String> {
    let time = match clock {
        "" => Time::midnight(),
        _ => time_of_day(clock)
            .ok_or_else(|| format!("{clock:?} is not a time of day: write 09:00 or 18:30:15"))?,
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

fn so_long_ago(text: &str, now: &Zoned) -> Result<Timestamp, String> {
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
            "2024-02-30",
            "0000-01-01",
            "2024-1-15",
            "2024-01-15T10:00:00",
            "0000-01-01T00:00:00Z",
        ] {
            assert!(point(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_is_its_first_or_its_last_moment() {
        let first = read("2024-03-10", &noon(), Edge::First).unwrap();
        let last = read("2024-03-10", &noon(), Edge::Last).unwrap();
        assert_eq!(first.to_string(), "2024-03-09T23:00:00Z");
        assert_eq!(last.to_string(), "2024-03-10T22:59:59.999999999Z");
    }

    #[test]
    fn spans_have_two_units() {
        let spans = [0, 45, 200, 3600, 7500, 97_200].map(|s| span(std::time::Duration::from_secs(s)));
        assert_eq!(spans, ["0 s", "45 s", "3 min 20 s", "1 h", "2 h 5 min", "1 day 3 h"]);
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        let now: Timestamp = "2024-03-10T12:00:00.987654Z".parse().unwrap();
        for (at, said) in [
            ("2024-03-10T12:00:00Z", "just now"),
            ("2024-03-10T11:59:30Z", "30 s ago"),
            ("2024-03-10T11:58:00Z", "2 min ago"),
            ("2024-03-10T09:00:00Z", "3 h ago"),
            ("2024-03-09T11:00:00Z", "1 day ago"),
            ("2024-03-03T11:00:00Z", "7 days ago"),
            ("2024-03-10T12:02:00Z", "in 2 min"),
            ("2024-01-15T10:30:00Z", "2024-01-15 10:30Z"),
        ] {
            assert_eq!(ago_or_date(at.parse().unwrap(), now), said);
        }
        assert_eq!(to_milliseconds(now), "2024-03-10T12:00:00.987Z");
        assert_eq!(to_milliseconds("2024-03-10T12:00:00Z".parse().unwrap()), "2024-03-10T12:00:00Z");
    }
}
