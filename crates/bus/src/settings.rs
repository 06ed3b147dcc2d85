//! What a publisher may be told: once for all events, and for one of them.

use std::time::Duration;

use domain::{Backoff, Expectation, Limits, OrderingRule, Priority, RetryPolicy};
use jiff::Timestamp;

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
    /// How an append is tried again after a fault that passes by itself, or whose outcome is unknown. Jitter is added to the
    /// pauses, so a pause may take up to twice its bound.
    pub retry: RetryPolicy,
}

impl Default for PublishSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            validation: true,
            unknown_types: UnknownTypes::default(),
            ordering: OrderingRule::default(),
            retry: RetryPolicy {
                max_retries: 6,
                backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(5)),
            },
        }
    }
}

/// What makes an event the same as the one that is stored under its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameEvent {
    /// The same id and the same content. Other content under the id is a conflict.
    #[default]
    ByContent,
    /// The same id, type and ordering key. The event that was stored first stays, also where the second one has other
    /// content. For ids that are derived from the cause of the event: a handler that is tried again publishes the event
    /// again, with the time of that attempt.
    ById,
}

/// Options of one event's delivery.
///
/// ```
/// use std::time::Duration;
/// use event_replay_bus::PublishOptions;
/// use domain::Priority;
/// let reminder = PublishOptions { delay: Some(Duration::from_secs(3600)), ..PublishOptions::default() };
/// let urgent = PublishOptions { priority: Priority::Critical, retries: Some(10), ..PublishOptions::default() };
/// assert_ne!(reminder, urgent);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishOptions {
    /// Among the events that a group has fetched, which goes first. Never before an earlier event of its key.
    pub priority: Priority,
    /// How long it waits before it is appended; none and zero: not at all.
    pub delay: Option<Duration>,
    /// From this instant on it is not handed over any more; a replay takes no notice.
    pub expires_at: Option<Timestamp>,
    /// How often a failed delivery is tried again, instead of the consumer's own setting.
    pub retries: Option<u16>,
    /// When it counts as published already.
    pub same_event: SameEvent,
    /// What must be so of the log in the step that stores it; else it is not published. It goes with no delay, and it is not in order
    /// with publications that are under way.
    pub expecting: Option<Expectation>,
}
