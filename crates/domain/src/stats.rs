//! Names of the counters. Publishers, consumers and replays count under these names, and health checks read them.

/// Events that were admitted; by type.
pub const ADMITTED: &str = "admitted";
/// Events that were not admitted; by type, which is empty if it is unknown.
pub const REJECTED: &str = "rejected";
/// Events for which an append returned an outcome; the sum is the duration of the calls in microseconds.
pub const APPENDED: &str = "appended";
/// Events whose append failed permanently.
pub const APPEND_FAILED: &str = "append_failed";
/// Deliveries that a handler received; by group.
pub const DELIVERED: &str = "delivered";
/// Deliveries that were handled; the sum is the time of the handlers in microseconds; by type.
pub const HANDLED: &str = "handled";
/// Attempts that failed; the sum is the time of the handlers in microseconds; by type.
pub const FAILED_ATTEMPTS: &str = "failed_attempts";
/// Deliveries that wait for a retry; by group.
pub const RETRIED: &str = "retried";
/// Deliveries that a group gave up on and kept as dead letters; by group.
pub const DEAD_LETTERED: &str = "dead_lettered";
/// Dead letters that were closed, by a redrive or by an operator; by group.
pub const DEAD_LETTERS_CLOSED: &str = "dead_letters_closed";
/// Deliveries that a group gave up on without a dead letter; by group.
pub const DROPPED: &str = "dropped";
/// Deliveries that were past their expiry and not delivered; by group.
pub const EXPIRED: &str = "expired";
/// Replayed deliveries that were handled; by target or group.
pub const REPLAY_HANDLED: &str = "replay_handled";
/// Replayed deliveries that failed permanently; by target or group.
pub const REPLAY_FAILED: &str = "replay_failed";
/// Replayed deliveries that were declined; by target or group.
pub const REPLAY_SKIPPED: &str = "replay_skipped";
