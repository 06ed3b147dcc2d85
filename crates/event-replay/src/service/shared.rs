//! The state that the handlers of one running service share.

use std::sync::Arc;

use bus::Bus;
use replay::Cancel;

/// The state that the handlers of one running service share.
pub(crate) struct Core<S> {
    /// The name of the service, which is the source of its events.
    pub(crate) name: String,
    pub(crate) state: Arc<S>,
    pub(crate) bus: Bus,
    /// Cancelled when the service begins to stop.
    pub(crate) stopping: Cancel,
}
