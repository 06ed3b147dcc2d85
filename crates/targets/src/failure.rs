//! The two failures of a delivery to another side: it refused the event, or it is unreachable.

use domain::delivery::HandlerError;

/// The failure of a delivery.
///
/// A group treats both alike. A replay does not: a refusal is a failure of the event. If the other side is unreachable,
/// the replay waits. Otherwise every event of the history would fail.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The other side received the event, and failed.
    Failed(HandlerError),
    /// The other side is unreachable.
    Unreachable(HandlerError),
}

impl From<Failure> for HandlerError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed(error) | Failure::Unreachable(error) => error,
        }
    }
}
