//! Errors as a person reads them: the failure, its subject, and the action to take.

mod advice;
mod reaching;
mod requests;

use std::io;

use event_replay::StoreLocation;

use crate::exit::Exit;

/// The reason for which a command ended early.
#[derive(Debug)]
pub(crate) enum CliError {
    /// An error that is printed on stderr.
    Said {
        /// The exit code.
        exit: Exit,
        /// The failure and its subject.
        what: String,
        /// The action to take.
        hint: Option<String>,
        /// Whether the fault is in the store that the settings name.
        of_store: bool,
    },
    /// The reader of stdout closed the pipe, as `head` does. This is no failure.
    OutputClosed,
}

impl CliError {
    /// Creates an error for a command that failed.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::Said { exit: Exit::Failed, what: what.into(), hint: None, of_store: false }
    }

    /// Creates an error for a wrong command line or setting.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Said { exit: Exit::Usage, what: what.into(), hint: None, of_store: false }
    }

    /// Adds the action to take.
    #[must_use]
    pub(crate) fn hint(self, advice: impl Into<String>) -> Self {
        match self {
            Self::Said { exit, what, of_store, .. } => {
                Self::Said { exit, what, hint: Some(advice.into()), of_store }
            }
            Self::OutputClosed => self,
        }
    }

    /// Puts the failed operation before the message.
    #[must_use]
    pub(crate) fn during(self, doing: impl std::fmt::Display) -> Self {
        match self {
            Self::Said { exit, what, hint, of_store } => {
                Self::Said { exit, what: format!("{doing}: {what}"), hint, of_store }
            }
            Self::OutputClosed => self,
        }
    }

    /// Sets whether the fault is in the store that the settings name.
    #[must_use]
    pub(crate) fn of_store(self, is_of_store: bool) -> Self {
        match self {
            Self::Said { exit, what, hint, .. } => Self::Said { exit, what, hint, of_store: is_of_store },
            Self::OutputClosed => self,
        }
    }

    /// Adds the name of the store to a fault of the store, unless the message already contains the name.
    #[must_use]
    pub(crate) fn naming(self, store: &StoreLocation) -> Self {
        let name = store.to_string();
        match self {
            Self::Said { exit, what, hint, of_store: true } if !what.contains(&name) => {
                Self::Said { exit, what: format!("store {name}: {what}"), hint, of_store: true }
            }
            other => other,
        }
    }

    /// Creates an error for a failed write to stdout.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::failed(format!("the output cannot be written: {error}")),
        }
    }
}

impl std::fmt::Display for CliError {
    /// Writes the failure and the hint in one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Said { what, hint: Some(hint), .. } => write!(f, "{what}; {hint}"),
            Self::Said { what, hint: None, .. } => f.write_str(what),
            Self::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

/// Formats an error with its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        said.push_str(&format!(": {next}"));
        cause = next.source();
    }
    said
}
