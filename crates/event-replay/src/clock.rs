//! A clock that goes with the runtime's, so that a test which pauses the runtime pauses everything.

use domain::{ports::Clock, time::later};
use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the time of tokio's clock. In a test whose runtime is paused (`#[tokio::test(start_paused = true)]`) no time passes
/// but while everybody waits, and then at once: a retry after 30 seconds or a lease of ten takes no time at all. Give the
/// same clock to store and bus.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeClock {
    base: Timestamp,
    begun: Instant,
}

impl RuntimeClock {
    /// A clock that says this instant now, and goes on from there.
    pub fn at(now: Timestamp) -> Self {
        Self { base: now, begun: Instant::now() }
    }
}

impl Default for RuntimeClock {
    /// A clock that says what the machine's clock says now.
    fn default() -> Self {
        Self::at(Timestamp::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        later(self.base, self.begun.elapsed())
    }
}
