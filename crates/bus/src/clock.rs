//! A clock that follows the clock of the tokio runtime. A test that pauses the runtime also pauses this clock.

use std::time::Duration;

use domain::{
    ports::Clock,
    time::{earlier, later},
};
use jiff::Timestamp;
use tokio::time::Instant;

/// Returns the time of the system clock. In a test that pauses tokio's clock, it follows tokio's clock.
///
/// In a test with a paused runtime (`#[tokio::test(start_paused = true)]`), time passes only while every task waits. It
/// then jumps to the next timer: a retry after 30 seconds or a lease of ten seconds costs no real time. The store and
/// the bus must use the same time. Both use this clock by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuntimeClock {
    /// The start time, and the instant of tokio's clock at which it was set. `None` means that the clock follows the
    /// system clock.
    begun: Option<(Timestamp, Instant)>,
}

impl RuntimeClock {
    /// Returns a clock that starts at `now` and advances with tokio's clock.
    pub fn at(now: Timestamp) -> Self {
        Self { begun: Some((now, Instant::now())) }
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Timestamp {
        match self.begun {
            Some((base, begun)) => later(base, begun.elapsed()),
            None => runtime_now(),
        }
    }
}

/// Returns the system time, shifted by the difference between tokio's clock and the monotonic clock. The two clocks are
/// equal unless a test has paused tokio's clock.
fn runtime_now() -> Timestamp {
    let before = std::time::Instant::now();
    let virtual_now = Instant::now().into_std();
    if before <= virtual_now && virtual_now <= std::time::Instant::now() {
        // Tokio's clock read the monotonic clock. Deliveries ask for the time often, so this case is short.
        return Timestamp::now();
    }
    let (now, monotonic_now) = both_clocks();
    match virtual_now.checked_duration_since(monotonic_now) {
        Some(ahead) => later(now, ahead),
        None => earlier(now, monotonic_now.saturating_duration_since(virtual_now)),
    }
}

/// Reads the system clock and the monotonic clock at the same time. A thread that loses its processor between the two
/// reads would shift the result, so the read with the smallest gap counts.
fn both_clocks() -> (Timestamp, std::time::Instant) {
    const CLOSE: Duration = Duration::from_micros(5);
    const READS: u32 = 8;
    let read = || {
        let before = std::time::Instant::now();
        let now = Timestamp::now();
        (before.elapsed(), now, before)
    };
    let mut closest = read();
    for _ in 1..READS {
        if closest.0 <= CLOSE {
            break;
        }
        let again = read();
        if again.0 < closest.0 {
            closest = again;
        }
    }
    (closest.1, closest.2)
}
