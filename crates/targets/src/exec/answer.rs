//! What a command answers.

use std::time::Duration;

use domain::delivery::HandlerError;
use serde::Deserialize;
use serde_json::Value;

/// A line of a command that answers a delivery.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    pub(super) id: String,
    ok: bool,
    error: Option<Value>,
    retry: Option<bool>,
    retry_after_ms: Option<u64>,
    pub(super) attempt: Option<u32>,
}

impl Answer {
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
            (_, Some(pause)) => HandlerError::retry_after(Duration::from_millis(pause), message),
            _ => HandlerError::retry(message),
        })
    }
}
