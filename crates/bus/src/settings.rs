//! What a publisher may be told.

use std::time::Duration;

use domain::{Limits, OrderingRule};

/// What to do with an event whose type no schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownTypes {
    /// Refuse it.
    #[default]
    Refuse,
    /// Accept it on its envelope alone.
    Accept,
}

/// Settings of a publisher.
#[derive(Debug, Clone)]
pub struct PublishSettings {
    /// Limits of the envelope. Checked even where validation is off.
    pub limits: Limits,
    /// Whether events are checked against the schemas of their types.
    pub validation: bool,
    /// What becomes of types without a schema, where validation is on.
    pub unknown_types: UnknownTypes,
    /// Where an event's ordering key is looked for when its schema names none.
    pub ordering: OrderingRule,
    /// How an append is tried again after a fault that passes by itself, or whose outcome is unknown.
    pub retry: RetryRule,
}

impl Default for PublishSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            validation: true,
            unknown_types: UnknownTypes::default(),
            ordering: OrderingRule::default(),
            retry: RetryRule::default(),
        }
    }
}

/// How often, and how far apart, an append is tried again: the pauses double, with jitter, up to a cap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryRule {
    /// Tries after the first.
    pub max_retries: usize,
    /// The first pause.
    pub base: Duration,
    /// The longest pause, before jitter.
    pub cap: Duration,
}

impl Default for RetryRule {
    fn default() -> Self {
        Self { max_retries: 6, base: Duration::from_millis(100), cap: Duration::from_secs(5) }
    }
}
