//! What a handler says of an error: whether trying again can help, and when.

use std::{fmt, time::Duration};

use domain::{HandlerError, delivery::Verdict};

/// What a handler answers. Any error becomes a [`HandlerError`] by `?`.
pub type Result<T = (), E = HandlerError> = std::result::Result<T, E>;

/// A failure that no retry can fix: the delivery becomes a dead letter at once.
pub fn permanent(message: impl fmt::Display) -> HandlerError {
    HandlerError::give_up(message)
}

/// A failure that is tried again, but not before this much time has passed.
pub fn retry_after(pause: Duration, message: impl fmt::Display) -> HandlerError {
    HandlerError::retry_after(pause, message)
}

/// Says of an error in a handler whether trying again can help.
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
    /// Trying again cannot help.
    ///
    /// # Errors
    /// The same, with that verdict.
    fn permanent(self) -> Result<T>;

    /// Trying again cannot help where the condition holds.
    ///
    /// # Errors
    /// The same, with that verdict.
    fn permanent_if(self, is_permanent: impl FnOnce(&E) -> bool) -> Result<T>;

    /// Trying again may help, but not before this much time has passed.
    ///
    /// # Errors
    /// The same, with that verdict.
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
