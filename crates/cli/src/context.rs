//! What a command works with.

use std::time::Instant;

use event_replay::{
    Access, Settings, StoreHandle,
    app::{self, audit::Actor},
};

use crate::{errors::CliError, output::Printer};

/// What a command works with.
pub(crate) struct Context<'a> {
    /// Everything that is set.
    pub(crate) settings: Settings,
    /// Who does this, and why.
    pub(crate) actor: Actor,
    /// Where results go.
    pub(crate) printer: &'a mut Printer,
    /// Whether more is to be said than usual.
    pub(crate) is_verbose: bool,
    /// The whole command line, for what is made from it.
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
