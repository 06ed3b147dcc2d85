//! What a running consumer says of itself.

use std::time::Instant;

use domain::group::GroupPause;

/// How a consumer stands, as of its last renewal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerState {
    /// The segments it works on.
    pub segments: Vec<u16>,
    /// How many it should have.
    pub share: u16,
    /// Whether the store fails: the consumer then tries again until it does not.
    pub outage: Option<Outage>,
    /// The pauses of its group that are in effect, but for that of its own circuit breaker.
    pub pauses: Vec<GroupPause>,
}

/// A time in which the store does not do what a consumer asks of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// When it began.
    pub since: Instant,
    /// What the store says; none where it does not answer.
    pub error: Option<String>,
}
