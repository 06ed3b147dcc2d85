//! What everything of one bus shares.

use std::sync::Arc;

use domain::ports::{Clock, Stores};
use stats::Meter;
use tokio::sync::RwLock;

use crate::consumer::LogReader;

/// What the consumers of one process have in common.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Stores>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meter: Meter,
    pub(crate) log: Arc<LogReader>,
    /// Whoever hands a delivery over is in the room; a suspect has it for itself.
    pub(crate) room: Arc<RwLock<()>>,
}
