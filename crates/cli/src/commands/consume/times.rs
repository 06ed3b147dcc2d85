//! The time limits of a consumer.

use std::time::Duration;

use crate::{args::target::Target, context::Context};

/// The time for which a reader of stdout may stall.
const PATIENCE_WITH_READERS: Duration = Duration::from_secs(24 * 3600);

/// The time limits of a consumer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// The time limit for one attempt.
    pub(super) timeout: Duration,
    /// The time limit for the open deliveries after a request to end.
    pub(super) grace: Duration,
}

impl Times {
    pub(super) fn new(timeout: Option<Duration>, target: &Target, cx: &Context<'_>) -> Self {
        let usual = cx.settings.handler_timeout;
        match (timeout, target) {
            (Some(timeout), _) => Self { timeout, grace: timeout },
            // A stalled reader is no failure of the events that it has not read yet.
            (None, Target::Stdout) => Self { timeout: PATIENCE_WITH_READERS, grace: usual },
            (None, _) => Self { timeout: usual, grace: usual },
        }
    }
}
