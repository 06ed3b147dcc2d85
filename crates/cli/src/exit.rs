//! The five exit codes of the process. Each code has one meaning.

use std::process::ExitCode;

/// The outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command completed its work.
    Ok = 0,
    /// The command failed.
    Failed = 1,
    /// The command line or a setting is wrong.
    Usage = 2,
    /// The command completed, but parts of its work failed.
    DoneWithFailures = 3,
    /// The store or its content needs attention now.
    Unhealthy = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
