//! A clock that changes only when a test sets it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::ports::Clock;
use jiff::{SignedDuration, Timestamp};

/// A manually controlled clock. Clones share the same time.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl Default for ManualClock {
    /// Creates a clock at noon of a day in 2024, in whole seconds. Every store can represent this time exactly.
    fn default() -> Self {
        Self::at("2024-06-01T12:00:00Z".parse().expect("a valid time"))
    }
}

impl ManualClock {
    /// Creates a clock with this time.
    pub fn at(instant: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(instant)))
    }

    /// Sets the time, which may be earlier than before.
    pub fn set(&self, instant: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = instant;
    }

    /// Advances the time.
    pub fn advance(&self, by: Duration) {
        let by = SignedDuration::try_from(by).expect("a duration that time can be moved by");
        self.set(self.now() + by);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
