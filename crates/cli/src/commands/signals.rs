//! Being asked to end: Ctrl-C, and what a service manager sends.

use crate::errors::CliError;

/// The requests to end, as they come. While it lives they do not end the process.
pub(crate) struct Interrupts {
    #[cfg(unix)]
    signals: [tokio::signal::unix::Signal; 2],
}

impl Interrupts {
    /// Listens from now on.
    #[cfg(unix)]
    pub(crate) fn listen() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let both = || Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?]);
        both().map(|signals| Self { signals }).map_err(|error: std::io::Error| deaf(&error))
    }

    /// Listens from now on.
    #[cfg(not(unix))]
    pub(crate) fn listen() -> Result<Self, CliError> {
        Ok(Self {})
    }

    /// Waits for the next one. Cancel-safe.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) {
        let [interrupt, terminate] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }

    /// Waits for the next one. Cancel-safe.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // No signal can arrive.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
fn deaf(error: &std::io::Error) -> CliError {
    CliError::failed(format!("the system does not say when this process is to end: {error}"))
}
