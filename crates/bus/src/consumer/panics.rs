//! Converts panics of user code into errors.

use std::{any::Any, panic::AssertUnwindSafe};

use domain::HandlerError;

/// Runs a piece of user code. Converts a panic into an error that requests a retry.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, HandlerError> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| HandlerError::retry(said(&*panic)))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("without a message"))
}
