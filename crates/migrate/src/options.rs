//! The options of a migration.

use std::sync::Arc;

use domain::{Limits, OrderingRule, ports::EventValidator};

/// The options of a migration.
#[derive(Clone, Default)]
pub struct Options {
    /// Limits of the envelope. The limit on timestamps ahead of the clock does not apply to history.
    pub limits: Limits,
    /// The rule that finds the ordering key of an event whose schema names no ordering member.
    pub ordering: OrderingRule,
    /// The schemas that name ordering members. Events are not validated, because published events are history.
    pub schemas: Option<Arc<dyn EventValidator>>,
    /// Whether to read and count only, without changes.
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

/// The phase of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The migration reads the old keys. The unit is keys.
    Looking,
    /// The migration stores events. The unit is events.
    Events,
    /// The migration creates checkpoints. The unit is checkpoints.
    Checkpoints,
    /// The migration compares counts. The unit is keys of indexes.
    Comparing,
}

/// A function that receives the progress of a migration: the phase, the completed units, and the total if it is known.
pub type ProgressCallback<'a> = &'a (dyn Fn(Phase, u64, Option<u64>) + Send + Sync);
