//! What every storage port can suffer, and what a caller may do about it.

use std::time::Duration;

use thiserror::Error;

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same call will fail again until a person changes something.
    Never,
    /// The fault passes by itself; the same call, with the same ids and bytes, is safe to repeat.
    Later,
    /// The call may or may not have taken effect; repeating it with the same ids and bytes settles which.
    ToSettle,
}

/// A fault of the store itself, shared by the errors of all storage ports.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StorageFailure {
    /// The store cannot be reached or opened.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// Another process held the store's lock for longer than the busy timeout.
    #[error("the store was locked by another process for {waited:.1?}")]
    Busy {
        /// How long this call waited.
        waited: Duration,
    },
    /// No space is left; nothing of the call was written.
    #[error("the store is full: {0}")]
    Full(String),
    /// The store refuses this caller's write (a read-only file, a missing right).
    #[error("the store does not permit this: {0}")]
    Denied(String),
    /// Stored bytes are not what was written.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
    /// What is there is not a store, or one of another layout or namespace.
    #[error("{0}")]
    Foreign(String),
    /// The answer to a write was lost: it is wholly there or wholly absent.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// It is stored, and fewer copies of it were confirmed in time than were asked for: should the server be lost now, so may
    /// be what was stored. Asking for the same again waits for the copies again.
    #[error("it is stored, and {confirmed} of {wanted} copies were confirmed within {waited:?}")]
    TooFewCopies {
        /// Copies that were confirmed.
        confirmed: u64,
        /// Copies that were asked for.
        wanted: u64,
        /// How long they were waited for.
        waited: Duration,
    },
    /// The adapter failed in a way that none of the above describes.
    #[error("the store failed: {0}")]
    Other(String),
}

impl StorageFailure {
    /// Whether repeating the call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unavailable(_) | Self::Busy { .. } => Retry::Later,
            Self::Unknown(_) | Self::TooFewCopies { .. } => Retry::ToSettle,
            _ => Retry::Never,
        }
    }

    /// A short stable name, for programs.
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
