//! Why one event could not be handed over: the other side said so, or is not there.

use domain::delivery::HandlerError;

/// Why an event could not be handed over.
///
/// A group treats both alike. A replay does not: what the other side refuses is a failure of the event. Where there is no
/// other side the replay waits, else every event of the history would be a failure.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The other side had the event, and failed.
    Failed(HandlerError),
    /// The other side cannot be reached at all.
    Unreachable(HandlerError),
}

impl From<Failure> for HandlerError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed(error) | Failure::Unreachable(error) => error,
        }
    }
}
