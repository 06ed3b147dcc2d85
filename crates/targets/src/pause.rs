//! The pause that an endpoint or a command asks for before an event is tried again.

use std::time::Duration;

use domain::delivery::HandlerError;

/// The longest pause that is granted: one day. While it lasts, its event holds up the events of its key.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// A failure after which trying again was asked for no sooner than after a pause.
pub(crate) fn retry_after(asked: Duration, message: &str) -> HandlerError {
    match asked <= LONGEST_PAUSE {
        true => HandlerError::retry_after(asked, message),
        false => HandlerError::retry_after(
            LONGEST_PAUSE,
            format_args!(
                "{message} (it asked for a pause of {} s; the longest is 24 hours)",
                asked.as_secs()
            ),
        ),
    }
}
