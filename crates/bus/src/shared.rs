//! State that all parts of one bus share.

use std::sync::Arc;

use domain::ports::{Clock, EventUpcaster, Stores};
use stats::Meter;
use tokio::sync::RwLock;

use crate::consumer::LogReader;

/// State that the consumers of one process share.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Stores>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) meter: Meter,
    pub(crate) log: Arc<LogReader>,
    /// Upcasts each event before a handler gets it.
    pub(crate) upcaster: Arc<dyn EventUpcaster>,
    /// The lock for isolation. Each running delivery holds a shared permit. An isolated attempt holds the exclusive
    /// permit.
    pub(crate) isolation: Arc<RwLock<()>>,
}
