//! How a migration goes about it.

use std::sync::Arc;

use domain::{Limits, OrderingRule, ports::EventValidator};

/// How a migration goes about it.
#[derive(Clone, Default)]
pub struct Options {
    /// Limits of the envelope. History is not asked how far ahead of the clock it lies.
    pub limits: Limits,
    /// Where to look for the ordering key of an event whose schema names none.
    pub ordering: OrderingRule,
    /// Whose schemas name ordering keys. Events are not validated: what was published is history.
    pub schemas: Option<Arc<dyn EventValidator>>,
    /// Look, count, and change nothing.
    pub dry_run: bool,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("limits", &self.limits)
            .field("ordering", &self.ordering)
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// What a migration is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Looking through the old keys; counted in keys.
    Looking,
    /// Taking events; counted in events.
    Events,
    /// Taking checkpoints; counted in checkpoints.
    Checkpoints,
    /// Comparing counts; counted in keys of indexes.
    Comparing,
}

/// Told how far a migration has come: what it is doing, how much of it is done, and of how much, where that is known.
pub type ProgressCallback<'a> = &'a (dyn Fn(Phase, u64, Option<u64>) + Send + Sync);
