//! An event of the old system.

use domain::event::parse_timestamp;
use jiff::Timestamp;

/// The fields of a hash that are read: event, replayCount, lastReplayAt.
pub(crate) type Fields = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

/// An event of the old system.
#[derive(Debug)]
pub(crate) struct OldEvent {
    /// The id in the key.
    pub(crate) id: Vec<u8>,
    /// The JSON text, or `None` if there is no event with this id.
    pub(crate) json: Option<Vec<u8>>,
    /// The replay count, or `None` if the field is not a valid number.
    pub(crate) replays: Option<u64>,
    pub(crate) last_replay_at: Option<Timestamp>,
}

impl OldEvent {
    pub(crate) fn new(id: Vec<u8>, (json, replays, last_replay_at): Fields) -> Self {
        let last_replay_at = last_replay_at.as_deref().and_then(text);
        Self {
            id,
            json,
            replays: replays.map_or(Some(0), |count| text(&count)?.parse().ok()),
            last_replay_at: last_replay_at.and_then(|at| parse_timestamp(at).ok()),
        }
    }

    /// Returns the event's timestamp in milliseconds. Returns `None` without a valid timestamp, which is invalid in an
    /// event.
    pub(crate) fn millisecond(&self) -> Option<i64> {
        #[derive(serde::Deserialize)]
        struct Dated<'a> {
            #[serde(borrow)]
            timestamp: std::borrow::Cow<'a, str>,
        }
        let dated: Dated<'_> = serde_json::from_slice(self.json.as_deref()?).ok()?;
        Some(parse_timestamp(&dated.timestamp).ok()?.as_millisecond())
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Option<Vec<u8>> {
        Some(text.as_bytes().to_vec())
    }

    #[test]
    fn a_missing_count_is_none_at_all_and_a_strange_one_is_told() {
        let replays = |count: Option<Vec<u8>>| OldEvent::new(vec![], (None, count, None)).replays;
        assert_eq!(replays(None), Some(0));
        assert_eq!(replays(bytes("3")), Some(3));
        for strange in ["", "-1", "three", "1.5", "99999999999999999999"] {
            assert_eq!(replays(bytes(strange)), None, "{strange}");
        }
    }

    #[test]
    fn the_time_is_read_from_the_event_itself() {
        let at = |json: &str| OldEvent::new(vec![], (bytes(json), None, None)).millisecond();
        assert_eq!(at(r#"{"id":"e","timestamp":"1970-01-01T00:00:01.5Z"}"#), Some(1500));
        assert_eq!(at(r#"{"timestamp":"1970-01-01T00:00:0\u0031Z"}"#), Some(1000));
        for none in ["", "{}", "[]", r#"{"timestamp":5}"#, r#"{"timestamp":"soon"}"#] {
            assert_eq!(at(none), None, "{none}");
        }
    }
}
