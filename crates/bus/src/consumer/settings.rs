//! What a consumer may be told.

use std::time::Duration;

use domain::Backoff;

use super::breaker::BreakerSettings;

/// Most handlers of a consumer at once.
pub const MAX_CONCURRENCY: usize = 64;

/// Settings of one consumer of a group.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// Its name, unique among the group's consumers.
    pub name: String,
    /// Handlers at once, 1 to [`MAX_CONCURRENCY`].
    pub concurrency: usize,
    /// The time limit of a handler.
    pub timeout: Duration,
    /// How long a lease is good. A consumer that ends without giving its segments back is taken over after this.
    pub lease: Duration,
    /// How long running handlers have to end when the consumer is told to stop. With the last commits it should be less than the time
    /// that whatever ends the process gives it; Kubernetes gives 30 seconds.
    pub grace: Duration,
    /// How often a failed delivery is tried again.
    pub max_retries: u32,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Whether a key waits behind its dead letter.
    pub park: bool,
    /// Whether deliveries that are given up on are kept as dead letters.
    pub dead_letters: bool,
    /// When it stops to hand over because many deliveries fail in a row; none: never.
    pub breaker: Option<BreakerSettings>,
}

impl Default for ConsumerSettings {
    /// 16 handlers at once, 30 seconds each, 3 retries, leases of 10 seconds, 20 seconds of grace.
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
