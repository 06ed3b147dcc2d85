//! Requests to end the process: Ctrl-C, and the signal of a service manager.

use crate::errors::CliError;

/// A stream of requests to end. While a value exists, a request does not end the process.
pub(crate) struct Interrupts {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
}

impl Interrupts {
    /// Starts to listen for requests.
    #[cfg(unix)]
    pub(crate) fn listen() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let both = || Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]);
        both().map(|signals| Self { signals }).map_err(|error: std::io::Error| deaf(&error))
    }

    /// Creates the stream. Each call of `next` listens for Ctrl-C.
    #[cfg(not(unix))]
    pub(crate) fn listen() -> Result<Self, CliError> {
        Ok(Self {})
    }

    /// Waits for the next request. Cancel-safe.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }

    /// Waits for the next request. Cancel-safe.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // The system delivers no signal.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
fn deaf(error: &std::io::Error) -> CliError {
    CliError::failed(format!("the system does not say when this process is to end: {error}"))
}
