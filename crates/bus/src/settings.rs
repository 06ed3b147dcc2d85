//! Settings of a publisher, and options of one published event.

use std::time::Duration;

use domain::{Backoff, Expectation, Limits, OrderingRule, Priority, RetryPolicy};
use jiff::Timestamp;

/// The treatment of an event whose type has no schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnknownTypes {
    /// Reject the event.
    #[default]
    Refuse,
    /// Accept the event if its envelope is valid.
    Accept,
}

/// Settings of a publisher.
#[derive(Debug, Clone)]
pub struct PublishSettings {
    /// Limits of the envelope. The publisher checks them even if validation is off.
    pub limits: Limits,
    /// Whether the publisher checks events against the schemas of their types.
    pub validation: bool,
    /// The treatment of types without a schema. It applies only if validation is on.
    pub unknown_types: UnknownTypes,
    /// The rule that finds the ordering key of an event whose schema names no ordering member.
    pub ordering: OrderingRule,
    /// The retry policy of an append after a transient fault or an unknown outcome. Jitter is added to the pauses, so a
    /// pause may be up to twice its bound.
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

/// The rule that decides whether an event equals the event that is stored under its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameEvent {
    /// The same id and the same content. Other content under the id is a conflict.
    #[default]
    ByContent,
    /// The same id, type and ordering key. The event that was stored first stays, even if the second event has other
    /// content. Use this rule for ids that are derived from the cause of the event. A handler that runs again publishes
    /// such an event again, with the time of the new attempt.
    ById,
}

/// Delivery options of one event.
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
    /// The priority among the events that a consumer has fetched. An event never overtakes an earlier event of its key.
    pub priority: Priority,
    /// The delay before the event is appended. `None` and zero mean no delay.
    pub delay: Option<Duration>,
    /// The expiry: from this instant on, the event is no longer delivered live. A replay ignores the expiry.
    pub expires_at: Option<Timestamp>,
    /// The number of retries of a failed delivery. It replaces the consumer's own setting.
    pub retries: Option<u16>,
    /// The rule by which the event counts as already published.
    pub same_event: SameEvent,
    /// A condition on the log, checked in the step that stores the event. If it does not hold, the event is not
    /// published. An expectation excludes a delay. Such an event has no order relative to concurrent publications.
    pub expecting: Option<Expectation>,
}
