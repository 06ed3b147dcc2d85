//! Decides the result of a delivery from the endpoint's answer.

use std::time::Duration;

use domain::delivery::HandlerError;
use http::{HeaderMap, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};

use crate::{excerpt::excerpt, pause};

/// The number of bytes of an answer's body in an error.
pub(super) const EXCERPT_BYTES: usize = 500;

/// Returns the result of an answer, from its status, its headers and the first part of its body.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<(), HandlerError> {
    if status.is_success() {
        return Ok(());
    }
    let message = message(status, body);
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        return Err(match retry_after(headers, Timestamp::now()) {
            Some(pause) => pause::retry_after(pause, &message),
            None => HandlerError::retry(message),
        });
    }
    Err(HandlerError::give_up(message))
}

fn message(status: StatusCode, body: &[u8]) -> String {
    let why = if status.is_redirection() { ": redirects are not followed" } else { "" };
    match body {
        [] => format!("the endpoint answered {status}{why}"),
        _ => format!("the endpoint answered {status}{why}: {}", excerpt(body, EXCERPT_BYTES)),
    }
}

/// Returns the pause that an answer asks for: a number of seconds, or a date. A date counts from the date of the answer
/// if there is one, so that the clocks need not agree.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let asked = text(header::RETRY_AFTER)?;
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = date(asked)?;
    let since = text(header::DATE).and_then(date).unwrap_or(now);
    Duration::try_from(until.duration_since(since)).ok()
}

/// Parses an HTTP date, in the only form that senders may use.
fn date(text: &str) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(text).ok()
}

#[cfg(test)]
mod tests {
    use domain::delivery::Verdict;

    use super::*;

    fn verdict(status: u16, headers: &[(&'static str, &str)]) -> Option<Verdict> {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        judge(StatusCode::from_u16(status).unwrap(), &headers, b"").err().map(|error| error.verdict)
    }

    #[test]
    fn each_status_means_one_thing() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(verdict(status, &[]), None);
        }
        for status in [429, 500, 502, 503, 504, 599] {
            assert_eq!(verdict(status, &[]), Some(Verdict::Retry), "{status}");
        }
        for status in [301, 302, 304, 307, 400, 401, 404, 408, 409, 410, 422, 499, 600, 999] {
            assert_eq!(verdict(status, &[]), Some(Verdict::GiveUp), "{status}");
        }
    }

    #[test]
    fn retry_after_is_kept_in_both_forms() {
        let after = |seconds| Some(Verdict::RetryAfter(Duration::from_secs(seconds)));
        assert_eq!(verdict(429, &[("retry-after", "120")]), after(120));
        let dates =
            [("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), ("date", "Sun, 06 Nov 1994 08:49:07 GMT")];
        assert_eq!(verdict(503, &dates), after(30));
        assert_eq!(verdict(503, &dates[..1]), Some(Verdict::Retry), "it is past");
        for nonsense in ["", "soon", "-5", "1.5", "99999999999999999999999"] {
            assert_eq!(verdict(503, &[("retry-after", nonsense)]), Some(Verdict::Retry), "{nonsense:?}");
        }
        assert_eq!(verdict(400, &[("retry-after", "1")]), Some(Verdict::GiveUp));
        let day = 24 * 60 * 60;
        assert_eq!(verdict(503, &[("retry-after", "86400")]), after(day));
        for beyond in ["86401", "18446744073709551615", "Wed, 01 Jan 2200 00:00:00 GMT"] {
            assert_eq!(verdict(503, &[("retry-after", beyond)]), after(day), "{beyond}");
        }
    }

    #[test]
    fn an_error_says_the_status_and_the_beginning_of_the_body() {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let error = judge(status, &HeaderMap::new(), b"no\x1b[2J\nsuch user").unwrap_err();
        assert_eq!(
            error.message(),
            "the endpoint answered 422 Unprocessable Entity: no\\u{1b}[2J\\nsuch user"
        );
        let long = judge(status, &HeaderMap::new(), &[b'x'; 501]).unwrap_err();
        assert!(long.message().ends_with(&format!(" {}…", "x".repeat(500))), "{long}");
        let moved = judge(StatusCode::FOUND, &HeaderMap::new(), b"").unwrap_err();
        assert_eq!(moved.message(), "the endpoint answered 302 Found: redirects are not followed");
    }
}
