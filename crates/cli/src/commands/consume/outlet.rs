//! The handler of the events: standard output, a command, or an endpoint.

use std::{fs::File, sync::Arc, time::Duration};

use domain::ports::EventHandler;
use targets::{ExecHandler, HttpHandler, LinesHandler, OutputEnd};

use crate::{
    args::target::Target,
    errors::{CliError, with_causes},
};

/// The handler of the events.
pub(super) enum Outlet {
    Lines(LinesHandler),
    Exec(ExecHandler),
    Http(Box<HttpHandler>),
}

impl Outlet {
    /// Opens the target. A command is started. An endpoint is not called yet.
    pub(super) fn open(target: &Target, timeout: Duration) -> Result<Self, CliError> {
        match target {
            Target::Groups => Err(CliError::usage("a consumer is what a group hands its events to")
                .hint("--target stdout, exec:COMMAND, exec1:COMMAND or an http:// or https:// URL says what handles them")),
            Target::Stdout => own_stdout()
                .and_then(LinesHandler::new)
                .map(Self::Lines)
                .map_err(|error| CliError::failed(format!("stdout cannot be written to: {error}"))),
            // The command keeps its default grace. It applies only at `close`, when every open delivery has been
            // answered.
            Target::Exec(command) => {
                ExecHandler::start(command.clone()).map(Self::Exec).map_err(|error| unstartable(&error))
            }
            Target::Http(endpoint) => HttpHandler::new(endpoint.clone().with_timeout(timeout))
                .map(|http| Self::Http(Box::new(http)))
                .map_err(|error| CliError::failed(format!("--target: {}", with_causes(&error)))),
        }
    }

    /// Returns the event handler.
    pub(super) fn handler(&self) -> Arc<dyn EventHandler> {
        match self {
            Self::Lines(lines) => Arc::new(lines.clone()),
            Self::Exec(exec) => Arc::new(exec.clone()),
            Self::Http(http) => Arc::new(HttpHandler::clone(http)),
        }
    }

    /// Waits until the target accepts no more events, and returns the reason. Only standard output can end.
    /// Cancel-safe.
    pub(super) async fn ended(&self) -> OutputEnd {
        match self {
            Self::Lines(lines) => lines.ended().await,
            Self::Exec(_) | Self::Http(_) => std::future::pending().await,
        }
    }

    /// Waits for the next report of wrong behaviour of a command. Waits forever for other targets. Cancel-safe.
    pub(super) async fn notice(&self) -> String {
        match self {
            Self::Exec(exec) => exec.notices().next().await,
            Self::Lines(_) | Self::Http(_) => std::future::pending().await,
        }
    }

    /// Ends the target after the last delivery.
    pub(super) async fn close(&self) {
        if let Self::Exec(exec) = self {
            exec.close().await;
        }
    }

    /// Ends the target at once, without waiting for open deliveries.
    pub(super) async fn kill(&self) {
        if let Self::Exec(exec) = self {
            exec.kill().await;
        }
    }
}

/// Returns stdout without the lock of [`std::io::stdout`]. A stalled reader delays the events, but not the messages on
/// stderr.
fn own_stdout() -> std::io::Result<File> {
    #[cfg(unix)]
    let own = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned();
    #[cfg(windows)]
    let own = std::os::windows::io::AsHandle::as_handle(&std::io::stdout()).try_clone_to_owned();
    own.map(File::from)
}

fn unstartable(error: &targets::ExecError) -> CliError {
    CliError::failed(format!("--target exec: {}", with_causes(error)))
        .hint("name a program that can be found, by its path where it is not in PATH")
}
