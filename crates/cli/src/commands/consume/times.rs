//! How long things may take.

use std::time::Duration;

use crate::{args::target::Target, context::Context};

/// How long a reader of stdout may stall.
const PATIENCE_WITH_READERS: Duration = Duration::from_secs(24 * 3600);

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// Handling an event.
    pub(super) timeout: Duration,
    /// Finishing what is being handled, when the consumer is to end.
    pub(super) grace: Duration,
}

impl Times {
    pub(super) fn new(timeout: Option<Duration>, target: &Target, cx: &Context<'_>) -> Self {
        let usual = cx.settings.handler_timeout;
        match (timeout, target) {
            (Some(timeout), _) => Self { timeout, grace: timeout },
            // A reader that stalls is no failure of the events that it has not read yet.
            (None, Target::Stdout) => Self { timeout: PATIENCE_WITH_READERS, grace: usual },
            (None, _) => Self { timeout: usual, grace: usual },
        }
    }
}
