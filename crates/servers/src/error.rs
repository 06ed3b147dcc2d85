//! The errors of servers and proxies.

use std::{io, path::PathBuf};

/// An error of a server or a proxy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server program, node or other prerequisite is missing.
    #[error("{0} (run tests/servers/install)")]
    NotInstalled(String),
    /// The program could not be started.
    #[error("{path} cannot be run: {source} (is it installed? tests/servers/install does it)")]
    CannotRun {
        /// The path of the program.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The server ended, or did not answer in time.
    #[error("{server} {what}; its log:\n{log}")]
    NotReady {
        /// Program, version and port.
        server: String,
        /// The observed behavior.
        what: String,
        /// The whole log of the server.
        log: String,
    },
    /// A server refused a command, or did not answer it.
    #[error("{server} did not do {command:?}: {source}")]
    Refused {
        /// Program, version and port.
        server: String,
        /// The command.
        command: String,
        /// The error of the client library.
        source: Box<redis::RedisError>,
    },
    /// The server does not run, because it was killed or stopped before.
    #[error("the server on port {0} is not running")]
    NotRunning(u16),
    /// An operation on a file, a socket or a process failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// The failed operation.
        action: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A certificate could not be created.
    #[error("cannot make certificates: {0}")]
    Certificates(#[from] rcgen::Error),
}

impl Error {
    /// Returns a closure for `map_err` that adds the failed operation to an error of the operating system.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
