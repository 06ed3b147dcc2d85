//! Settings of a consumer.

use std::time::Duration;

use domain::Backoff;

use super::breaker::BreakerSettings;

/// The highest number of concurrent handler calls of a consumer.
pub const MAX_CONCURRENCY: usize = 64;

/// Settings of one consumer of a group.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// The consumer's name, unique in the group.
    pub name: String,
    /// The number of concurrent handler calls, 1 to [`MAX_CONCURRENCY`].
    pub concurrency: usize,
    /// The time limit of a handler call.
    pub timeout: Duration,
    /// The lease time. If a consumer ends without a release of its segments, other consumers take them over after this
    /// time.
    pub lease: Duration,
    /// The time that running handlers have to finish after a stop. Together with the last commits it should be shorter
    /// than the termination grace period of the process, which is 30 seconds in Kubernetes.
    pub grace: Duration,
    /// The number of retries of a failed delivery.
    pub max_retries: u32,
    /// The pauses between attempts.
    pub backoff: Backoff,
    /// Whether a key is parked behind its dead letter.
    pub park: bool,
    /// Whether a delivery that the group gives up on is kept as a dead letter.
    pub dead_letters: bool,
    /// The circuit breaker that stops deliveries after many failures in a row. `None` means no circuit breaker.
    pub breaker: Option<BreakerSettings>,
}

impl Default for ConsumerSettings {
    /// Returns 16 concurrent handlers, 30 seconds for each call, 3 retries, leases of 10 seconds and 20 seconds of
    /// grace.
    fn default() -> Self {
        Self {
            name: String::new(),
            concurrency: 16,
            timeout: Duration::from_secs(30),
            lease: Duration::from_secs(10),
            grace: Duration::from_secs(20),
            max_retries: 3,
            backoff: Backoff::default(),
            park: false,
            dead_letters: true,
            breaker: None,
        }
    }
}
