//! A clock that stands still until a test moves it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::ports::Clock;
use jiff::{SignedDuration, Timestamp};

/// A clock driven by hand. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl Default for ManualClock {
    /// Noon of a day in 2024, at whole seconds: every store can write it down exactly.
    fn default() -> Self {
        Self::at("2024-06-01T12:00:00Z".parse().expect("a valid time"))
    }
}

impl ManualClock {
    /// A clock that stands at an instant.
    pub fn at(instant: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(instant)))
    }

    /// Moves it to an instant, also back.
    pub fn set(&self, instant: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = instant;
    }

    /// Moves it forth.
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
