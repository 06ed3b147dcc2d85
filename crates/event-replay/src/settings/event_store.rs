//! ENABLE_EVENT_STORE: whether a namespace that is made keeps every event.

use domain::ports::RetentionMode;

use super::origin;

/// What was said about keeping events, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventStoreSetting {
    enabled: bool,
    origin: String,
}

impl EventStoreSetting {
    pub(super) fn new(enabled: bool, origin: String) -> Self {
        Self { enabled, origin }
    }

    /// What a namespace that is made now keeps.
    pub fn keeps(&self) -> RetentionMode {
        if self.enabled { RetentionMode::History } else { RetentionMode::UntilDelivered }
    }

    /// The requested mode; none if any store will do.
    pub fn asked_for(&self) -> Option<RetentionMode> {
        (self.origin != origin::DEFAULT).then(|| self.keeps())
    }

    /// Who said so.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}
