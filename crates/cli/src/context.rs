//! What a command works with.

use event_replay::{Access, Settings, StoreHandle, app};

use crate::{errors::CliError, output::Printer};

/// What a command works with.
pub(crate) struct Context<'a> {
    /// Everything that is set.
    pub(crate) settings: Settings,
    /// Where results go.
    pub(crate) printer: &'a mut Printer,
    /// The whole command line, for what is made from it.
    pub(crate) command_line: fn() -> clap::Command,
}

impl Context<'_> {
    /// Opens the store that the settings name.
    pub(crate) async fn open(&self, access: Access) -> Result<StoreHandle, CliError> {
        Ok(app::open_store(&self.settings, access).await?)
    }
}
