//! The answer of a command or an endpoint to one event, for callers that compare answers.

use async_trait::async_trait;
use domain::{delivery::HandlerError, ports::ReplayDelivery};
use thiserror::Error;

use crate::failure::Failure;

/// The largest answer that is read, in bytes.
pub(crate) const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// The answer of a command or an endpoint to one event, in either case: it handled the event, or it refused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetAnswer {
    /// The result of a delivery with this answer.
    pub result: Result<(), HandlerError>,
    /// The status, if the target has statuses. An answer line of a command has none.
    pub status: Option<AnswerStatus>,
    /// The body: the answer line of a command, the stdout of a command that runs once for each event, or the body of
    /// an HTTP response. The stdout is empty unless the command
    /// [captures it](crate::ExecCommand::with_captured_stdout).
    pub body: Vec<u8>,
}

/// The status of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerStatus {
    /// The exit status of a command.
    Exit(i32),
    /// The status code of an HTTP response.
    Http(u16),
}

/// The reason for which an event has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoAnswer {
    /// The target cannot be reached, so it would answer no other event either.
    #[error("{0}")]
    Unreachable(String),
    /// The target did not answer this event completely and in time.
    #[error("{0}")]
    Unanswered(String),
}

/// Sends single events and returns the answers. An event is sent once, and never again.
#[async_trait]
pub trait AnsweringTarget: Send + Sync {
    /// Sends an event and waits for its answer.
    async fn ask(&self, delivery: &ReplayDelivery) -> Result<TargetAnswer, NoAnswer>;
}

impl TargetAnswer {
    /// Returns the result of a delivery with this answer.
    pub(crate) fn into_result(self) -> Result<(), Failure> {
        self.result.map_err(Failure::Failed)
    }
}

impl From<Failure> for NoAnswer {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed(error) => Self::Unanswered(error.to_string()),
            Failure::Unreachable(error) => Self::Unreachable(error.to_string()),
        }
    }
}
