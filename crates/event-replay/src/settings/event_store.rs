//! `ENABLE_EVENT_STORE`: whether a new namespace keeps every event.

use domain::ports::RetentionMode;

use super::origin;

/// Whether a new namespace keeps its history, and the origin of this setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventStoreSetting {
    enabled: bool,
    origin: String,
}

impl EventStoreSetting {
    pub(super) fn new(enabled: bool, origin: String) -> Self {
        Self { enabled, origin }
    }

    /// Returns the mode of a new namespace.
    pub fn keeps(&self) -> RetentionMode {
        if self.enabled { RetentionMode::History } else { RetentionMode::UntilDelivered }
    }

    /// Returns the requested mode. `None` if the setting is the default, so that a store of either mode is accepted.
    pub fn asked_for(&self) -> Option<RetentionMode> {
        (self.origin != origin::DEFAULT).then(|| self.keeps())
    }

    /// Returns the origin of the setting.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}
