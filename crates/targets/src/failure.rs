//! Why one event could not be handed over: the other side said so, or is not there.

use domain::delivery::HandlerError;

/// Why an event could not be handed over.
///
/// A group treats both alike. A replay does not: what the other side refuses is a failure of the event, but where nobody
/// is there the replay waits, else it would call every event of history failed.
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
