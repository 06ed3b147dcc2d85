//! The context of a running command.

use std::time::Instant;

use event_replay::{
    Access, Settings, StoreHandle,
    app::{self, audit::Actor},
};

use crate::{errors::CliError, output::Printer};

/// The context of a running command.
pub(crate) struct Context<'a> {
    /// All settings.
    pub(crate) settings: Settings,
    /// The operator and the reason, for the audit.
    pub(crate) actor: Actor,
    /// The printer for results and messages.
    pub(crate) printer: &'a mut Printer,
    /// Whether the output is more detailed than usual.
    pub(crate) is_verbose: bool,
    /// Builds the whole command line, for help texts and manual pages.
    pub(crate) command_line: fn() -> clap::Command,
}

impl Context<'_> {
    /// Opens the store that the settings name.
    pub(crate) async fn open(&self, access: Access) -> Result<StoreHandle, CliError> {
        let begun = Instant::now();
        let store = app::open_store(&self.settings, access).await?;
        let (location, origin) = (&self.settings.store, self.settings.store.origin());
        tracing::info!(%location, %origin, ?access, elapsed = ?begun.elapsed(), "opened the store");
        Ok(store)
    }
}
