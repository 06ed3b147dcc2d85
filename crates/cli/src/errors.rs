//! Errors as a person reads them: what happened, to what, and what to do about it.

mod advice;
mod reaching;
mod requests;

use std::io;

use event_replay::StoreLocation;

use crate::exit::Exit;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum CliError {
    /// To be said on stderr.
    Said {
        /// The exit code.
        exit: Exit,
        /// What happened, and to what.
        what: String,
        /// What to do about it.
        hint: Option<String>,
        /// Whether it is a fault of the store that the settings name.
        of_store: bool,
    },
    /// The reader of our output went away, as `head` does. Nothing is wrong.
    OutputClosed,
}

impl CliError {
    /// It could not be done.
    pub(crate) fn failed(what: impl Into<String>) -> Self {
        Self::Said { exit: Exit::Failed, what: what.into(), hint: None, of_store: false }
    }

    /// It was asked for in a way that makes no sense.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Said { exit: Exit::Usage, what: what.into(), hint: None, of_store: false }
    }

    /// Adds what to do.
    #[must_use]
    pub(crate) fn hint(self, advice: impl Into<String>) -> Self {
        match self {
            Self::Said { exit, what, of_store, .. } => {
                Self::Said { exit, what, hint: Some(advice.into()), of_store }
            }
            Self::OutputClosed => self,
        }
    }

    /// Says first what was being done when it happened.
    #[must_use]
    pub(crate) fn during(self, doing: impl std::fmt::Display) -> Self {
        match self {
            Self::Said { exit, what, hint, of_store } => {
                Self::Said { exit, what: format!("{doing}: {what}"), hint, of_store }
            }
            Self::OutputClosed => self,
        }
    }

    /// Says that it is a fault of the store that the settings name, or of another place.
    #[must_use]
    pub(crate) fn of_store(self, is_of_store: bool) -> Self {
        match self {
            Self::Said { exit, what, hint, .. } => Self::Said { exit, what, hint, of_store: is_of_store },
            Self::OutputClosed => self,
        }
    }

    /// Names the store where it is a fault of the store, and the message does not name it yet.
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

    /// An error of writing to stdout.
    pub(crate) fn output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::failed(format!("the output cannot be written: {error}")),
        }
    }
}

impl std::fmt::Display for CliError {
    /// In one line: what happened, and what to do about it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Said { what, hint: Some(hint), .. } => write!(f, "{what}; {hint}"),
            Self::Said { what, hint: None, .. } => f.write_str(what),
            Self::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

/// An error with what led to it.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        said.push_str(&format!(": {next}"));
        cause = next.source();
    }
    said
}
