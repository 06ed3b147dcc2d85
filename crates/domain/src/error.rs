//! Failures that every storage port can return, and the action that each allows.

use std::{any::Any, time::Duration};

use thiserror::Error;

/// Whether a retry can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call fails again until a person changes something.
    Never,
    /// The fault passes by itself. The same call, with the same ids and bytes, is safe to repeat.
    Later,
    /// The call may have taken effect or not. A repeated call with the same ids and bytes shows which.
    ToSettle,
}

/// A failure of the store itself. The errors of all storage ports share it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StorageFailure {
    /// The store cannot be reached or opened.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// Another process held the store's lock for longer than the busy timeout.
    #[error("the store was locked by another process for {waited:.1?}")]
    Busy {
        /// Time that this call waited.
        waited: Duration,
    },
    /// The store has no space left. The call wrote nothing.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store refuses this caller's write, for example because of a read-only file or a missing permission.
    #[error("the store does not permit this: {0}")]
    Denied(String),
    /// Stored bytes differ from the written bytes.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// The data at the address is not a store, or it is a store of another layout or namespace.
    #[error("{0}")]
    Foreign(String),
    /// The answer to a write was lost. The write is applied whole or not at all.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// The data is stored, but fewer copies than requested were confirmed in time. If the server is lost now, the
    /// data may be lost too. The same call, repeated, waits for the copies again.
    #[error("it is stored, and {confirmed} of {wanted} copies were confirmed within {waited:?}")]
    TooFewCopies {
        /// Number of confirmed copies.
        confirmed: u64,
        /// Number of requested copies.
        wanted: u64,
        /// Time that the call waited for the copies.
        waited: Duration,
    },
    /// The adapter failed in a way that no other variant describes.
    #[error("the store failed: {0}")]
    Other(String),
}

impl StorageFailure {
    /// Returns whether a repeated call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unavailable(_) | Self::Busy { .. } => Retry::Later,
            Self::Unknown(_) | Self::TooFewCopies { .. } => Retry::ToSettle,
            _ => Retry::Never,
        }
    }

    /// Returns a short stable name of the failure, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Busy { .. } => "busy",
            Self::Full(_) => "full",
            Self::Denied(_) => "denied",
            Self::Corrupt(_) => "corrupt",
            Self::Foreign(_) => "foreign",
            Self::Unknown(_) => "unknown",
            Self::TooFewCopies { .. } => "too_few_copies",
            Self::Other(_) => "other",
        }
    }
}

/// Returns the message of a caught panic.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
