//! What the handlers of one running service share.

use std::sync::Arc;

use bus::Bus;
use replay::Cancel;

/// What the handlers of one running service share.
pub(crate) struct Core<S> {
    /// The service: the source of what it emits.
    pub(crate) name: String,
    pub(crate) state: Arc<S>,
    pub(crate) bus: Bus,
    /// Thrown when the service begins to stop.
    pub(crate) stopping: Cancel,
}
