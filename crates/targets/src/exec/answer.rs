//! The answer line of a command.

use std::time::Duration;

use domain::delivery::HandlerError;
use serde::Deserialize;
use serde_json::Value;

use crate::pause;

/// A line in which a command answers a delivery.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CommandReply {
    pub(super) id: String,
    ok: bool,
    error: Option<Value>,
    retry: Option<bool>,
    retry_after_ms: Option<u64>,
    pub(super) attempt: Option<u32>,
}

impl CommandReply {
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    pub(super) fn result(self) -> Result<(), HandlerError> {
        if self.ok {
            return Ok(());
        }
        let message = match self.error {
            Some(Value::String(text)) => text,
            Some(other) if !other.is_null() => other.to_string(),
            _ => "the command failed, and gave no error".to_owned(),
        };
        Err(match (self.retry, self.retry_after_ms) {
            (Some(false), _) => HandlerError::give_up(message),
            (_, Some(asked)) => pause::retry_after(Duration::from_millis(asked), &message),
            _ => HandlerError::retry(message),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_day_at_the_longest() {
        let asking = |millis: u64| {
            let line = format!(r#"{{"id":"e","ok":false,"error":"busy","retryAfterMs":{millis}}}"#);
            CommandReply::parse(line.as_bytes()).map(CommandReply::result)
        };
        let expected = |pause, message: &str| Some(Err(HandlerError::retry_after(pause, message)));
        assert_eq!(asking(1500), expected(Duration::from_millis(1500), "busy"));
        let capped = "busy (it asked for a pause of 18446744073709551 s; the longest is 24 hours)";
        assert_eq!(asking(u64::MAX), expected(pause::LONGEST_PAUSE, capped));
    }
}
