//! Names of the counters. Publishers, consumers and replays count under these names, and health checks read them.

/// Events that were admitted. The label is the event type.
pub const ADMITTED: &str = "admitted";
/// Events that were not admitted. The label is the event type, or empty if the type is unknown.
pub const REJECTED: &str = "rejected";
/// Events for which an append returned an outcome. The sum is the duration of the calls, in microseconds.
pub const APPENDED: &str = "appended";
/// Events whose append failed permanently.
pub const APPEND_FAILED: &str = "append_failed";
/// Deliveries to handlers, with every attempt counted. The label is the group.
pub const DELIVERED: &str = "delivered";
/// Deliveries that were handled. The sum is the time of the handlers, in microseconds. The label is the event type.
pub const HANDLED: &str = "handled";
/// Attempts that failed. The sum is the time of the handlers, in microseconds. The label is the event type.
pub const FAILED_ATTEMPTS: &str = "failed_attempts";
/// Attempts after which a delivery is tried again. The label is the group.
pub const RETRIED: &str = "retried";
/// Deliveries that a group gave up on and kept as dead letters. The label is the group.
pub const DEAD_LETTERED: &str = "dead_lettered";
/// Dead letters that were closed, by a redrive or by an operator. The label is the group.
pub const DEAD_LETTERS_CLOSED: &str = "dead_letters_closed";
/// Deliveries that a group gave up on without a dead letter. The label is the group.
pub const DROPPED: &str = "dropped";
/// Deliveries that were past their expiry and not delivered. The label is the group.
pub const EXPIRED: &str = "expired";
/// Replayed deliveries that were handled. The label is the target or the group.
pub const REPLAY_HANDLED: &str = "replay_handled";
/// Replayed deliveries that failed permanently. The label is the target or the group.
pub const REPLAY_FAILED: &str = "replay_failed";
/// Replayed deliveries that were skipped. The label is the target or the group.
pub const REPLAY_SKIPPED: &str = "replay_skipped";
