//! A clock that goes with the runtime's, so that a test which pauses the runtime pauses everything.

use domain::{
    ports::Clock,
    time::{earlier, later},
};
use jiff::Timestamp;
use tokio::time::Instant;

/// Tells the time of the machine's clock, and that of tokio's where a test has paused it.
///
/// In a test whose runtime is paused (`#[tokio::test(start_paused = true)]`) time passes only while every task waits, and then at
/// once: a retry after 30 seconds or a lease of ten takes no time at all. Store and bus must have the same time: both have this
/// clock where nothing else is said.
#[derive(Debug, Clone, Copy, Default)]
pub struct RuntimeClock {
    /// Where it begins, and when by tokio's clock. None: with the machine's clock.
    begun: Option<(Timestamp, Instant)>,
}

impl RuntimeClock {
    /// A clock that says this instant now, and goes on from there with tokio's clock.
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

/// The machine's time, shifted by as much as tokio's clock is ahead of the monotonic one or behind it. They are one clock unless a
/// test has paused tokio's.
fn runtime_now() -> Timestamp {
    let virtual_now = Instant::now().into_std();
    let (now, monotonic_now) = (Timestamp::now(), std::time::Instant::now());
    match virtual_now.checked_duration_since(monotonic_now) {
        Some(ahead) => later(now, ahead),
        None => earlier(now, monotonic_now.saturating_duration_since(virtual_now)),
    }
}
