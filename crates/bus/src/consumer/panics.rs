//! Converts panics of user code into errors.

use std::panic::AssertUnwindSafe;

use domain::{HandlerError, error::panic_message};

/// Runs a piece of user code. Converts a panic into an error that requests a retry.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, HandlerError> {
    std::panic::catch_unwind(AssertUnwindSafe(work))
        .map_err(|panic| HandlerError::retry(format!("the handler panicked: {}", panic_message(&*panic))))
}
