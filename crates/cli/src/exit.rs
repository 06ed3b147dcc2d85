//! What the process answers: five codes, each with one meaning.

use std::process::ExitCode;

/// The outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Ok = 0,
    /// It could not be done.
    Failed = 1,
    /// It was asked for in a way that makes no sense.
    Usage = 2,
    /// It was done, and some of its parts failed.
    DoneWithFailures = 3,
    /// The store or what is in it needs attention now.
    Unhealthy = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
