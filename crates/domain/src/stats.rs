//! What is counted: the names that publishers, consumers and replays count under, and that health reads.

/// Events that were admitted; by type.
pub const ADMITTED: &str = "admitted";
/// Events that were not admitted; by type, empty where it cannot be told.
pub const REJECTED: &str = "rejected";
/// Events that appends answered for, with what the calls took in microseconds.
pub const APPENDED: &str = "appended";
/// Events whose append failed permanently.
pub const APPEND_FAILED: &str = "append_failed";
/// Hand-overs to handlers; by group.
pub const DELIVERED: &str = "delivered";
/// Deliveries that were handled, with their handlers' time in microseconds; by type.
pub const HANDLED: &str = "handled";
/// Attempts that failed, with their handlers' time in microseconds; by type.
pub const FAILED_ATTEMPTS: &str = "failed_attempts";
/// Deliveries that are to be tried again; by group.
pub const RETRIED: &str = "retried";
/// Deliveries that a group gave up on and kept as dead letters; by group.
pub const DEAD_LETTERED: &str = "dead_lettered";
/// Dead letters that were closed, by a redrive or by hand; by group.
pub const DEAD_LETTERS_CLOSED: &str = "dead_letters_closed";
/// Deliveries that a group gave up on and kept nowhere; by group.
pub const DROPPED: &str = "dropped";
/// Deliveries that came after their expiry and were not handed over; by group.
pub const EXPIRED: &str = "expired";
/// Replayed deliveries that were handled; by target or group.
pub const REPLAY_HANDLED: &str = "replay_handled";
/// Replayed deliveries that were given up on; by target or group.
pub const REPLAY_FAILED: &str = "replay_failed";
/// Replayed deliveries that were declined; by target or group.
pub const REPLAY_SKIPPED: &str = "replay_skipped";
