//! The pause that an endpoint or a command requests before a retry.

use std::time::Duration;

use domain::delivery::HandlerError;

/// The longest accepted pause: one day. During the pause, the event blocks the later events of its key.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 60 * 60);

/// Returns a failure with a requested pause before the retry.
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
