//! The result of a handler: whether a retry can help, and when.

use std::{fmt, time::Duration};

use domain::{HandlerError, delivery::Verdict};

/// The result of a handler. The operator `?` converts any error to a [`HandlerError`].
pub type Result<T = (), E = HandlerError> = std::result::Result<T, E>;

/// Returns an error that no retry can fix. The delivery becomes a dead letter at once.
pub fn permanent(message: impl fmt::Display) -> HandlerError {
    HandlerError::give_up(message)
}

/// Returns an error with a retry. The group waits at least this long before the retry.
pub fn retry_after(pause: Duration, message: impl fmt::Display) -> HandlerError {
    HandlerError::retry_after(pause, message)
}

/// Adds a verdict to an error in a handler: whether a retry can help.
///
/// ```
/// use std::time::Duration;
/// use event_replay::prelude::*;
///
/// # fn main() {
/// fn amount(text: &str) -> Result<u64> {
///     Ok(text.parse().permanent()?)
/// }
/// fn answer() -> std::io::Result<u64> {
///     Err(std::io::ErrorKind::TimedOut.into())
/// }
/// fn ask() -> Result<u64> {
///     Ok(answer().permanent_if(|error| error.kind() == std::io::ErrorKind::NotFound)?)
/// }
/// assert!(amount("seven").unwrap_err().is_permanent());
/// assert!(!ask().unwrap_err().is_permanent());
/// assert!(!answer().retry_after(Duration::from_secs(60)).unwrap_err().is_permanent());
/// # }
/// ```
pub trait ResultExt<T, E> {
    /// Marks the error as permanent: no retry can help.
    ///
    /// # Errors
    /// Returns the original error, marked as permanent.
    fn permanent(self) -> Result<T>;

    /// Marks the error as permanent if the condition holds. Otherwise the group retries.
    ///
    /// # Errors
    /// Returns the original error with that verdict.
    fn permanent_if(self, is_permanent: impl FnOnce(&E) -> bool) -> Result<T>;

    /// Marks the error for a retry. The group waits at least this long before the retry.
    ///
    /// # Errors
    /// Returns the original error with that verdict.
    fn retry_after(self, pause: Duration) -> Result<T>;
}

impl<T, E: Into<HandlerError>> ResultExt<T, E> for std::result::Result<T, E> {
    fn permanent(self) -> Result<T> {
        self.permanent_if(|_| true)
    }

    fn permanent_if(self, is_permanent: impl FnOnce(&E) -> bool) -> Result<T> {
        self.map_err(|error| {
            let verdict = if is_permanent(&error) { Verdict::GiveUp } else { Verdict::Retry };
            HandlerError { verdict, ..error.into() }
        })
    }

    fn retry_after(self, pause: Duration) -> Result<T> {
        self.map_err(|error| HandlerError { verdict: Verdict::RetryAfter(pause), ..error.into() })
    }
}
