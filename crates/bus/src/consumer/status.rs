//! The state that a running consumer reports.

use std::time::Instant;

use domain::group::GroupPause;

/// The state of a consumer as of its last lease renewal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerState {
    /// The segments that the consumer has leased.
    pub segments: Vec<u16>,
    /// The number of segments that the consumer should have.
    pub share: u16,
    /// The outage of the store, if there is one. The consumer retries until the store works.
    pub outage: Option<Outage>,
    /// The pauses of the group that are in effect, except the pause of the consumer's own circuit breaker.
    pub pauses: Vec<GroupPause>,
}

/// A period in which the store fails the consumer's requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The start of the outage.
    pub since: Instant,
    /// The error of the store. `None` means that the store does not answer.
    pub error: Option<String>,
}
