//! Why a server or a proxy could not do what it was told.

use std::{io, path::PathBuf};

/// Why a server or a proxy could not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No program to start.
    #[error("{0} (run tests/servers/install)")]
    NotInstalled(String),
    /// The program could not be run at all.
    #[error("{path} cannot be run: {source} (is it installed? tests/servers/install does it)")]
    CannotRun {
        /// Which program.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The server ended, or did not answer in time.
    #[error("{server} {what}; its log:\n{log}")]
    NotReady {
        /// Program, version and port.
        server: String,
        /// What it did instead of answering.
        what: String,
        /// All that the server has said so far.
        log: String,
    },
    /// A server refused a command, or did not answer it.
    #[error("{server} did not do {command:?}: {source}")]
    Refused {
        /// Program, version and port.
        server: String,
        /// What was asked.
        command: String,
        /// What it says.
        source: Box<redis::RedisError>,
    },
    /// The server is not running: it was killed or stopped before.
    #[error("the server on port {0} is not running")]
    NotRunning(u16),
    /// A file, a socket or a signal failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was to be done.
        action: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// Certificates could not be made.
    #[error("cannot make certificates: {0}")]
    Certificates(#[from] rcgen::Error),
}

impl Error {
    /// For `map_err`: what was being done when the operating system refused.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
