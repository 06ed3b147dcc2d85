//! The log: events in the order of their positions, with the data beside each event.

pub(crate) mod append;
pub(crate) mod event_row;
pub(crate) mod fold;
pub(crate) mod ids;
pub(crate) mod newer;
pub(crate) mod read;
pub(crate) mod remove;
pub(crate) mod scrub;
pub(crate) mod wake;
