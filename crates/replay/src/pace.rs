//! The pace of a replay.
//!
//! It uses the monotonic clock of the runtime. A step of the wall clock therefore neither stalls a replay nor permits a
//! burst. A replay does not make up for lost time. This keeps the bound of a rate in every time window, not only on
//! average.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::ReplayError;

/// The speed limit of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pace {
    /// As fast as the store and the target allow.
    Unpaced,
    /// A pause between the end of one batch and the start of the next. Serialized in microseconds.
    #[serde(with = "microseconds")]
    Delay(Duration),
    /// Events per second, evenly spaced. [A batch](Pace::batch) has at most the events of a tenth of a second. In any
    /// window of `w` seconds at most `rate × w` events and one batch are sent, retries included.
    Rate(f64),
}

impl Default for Pace {
    /// One second between batches.
    fn default() -> Self {
        Self::Delay(Duration::from_secs(1))
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unpaced => f.write_str("no pause"),
            Self::Delay(delay) => write!(f, "a pause of {delay:?} between batches"),
            Self::Rate(rate) => write!(f, "{rate} events a second"),
        }
    }
}

impl Pace {
    /// Checks the pace.
    ///
    /// # Errors
    /// Returns [`ReplayError::InvalidOption`] when a rate is not a positive number.
    pub fn check(&self) -> Result<(), ReplayError> {
        match self {
            Self::Rate(rate) if !(rate.is_finite() && *rate > 0.0) => Err(ReplayError::InvalidOption(
                format!("a rate is a positive number of events a second, such as 100 or 0.5; this is {rate}"),
            )),
            _ => Ok(()),
        }
    }

    /// Returns the number of events in one batch, out of `most`. Under a rate it is at most the events of a tenth of a
    /// second, and at least one.
    /// ```
    /// use event_replay_replay::Pace;
    /// assert_eq!(Pace::Rate(5.0).batch(50), 1);
    /// assert_eq!(Pace::Rate(200.0).batch(50), 20);
    /// assert_eq!(Pace::Unpaced.batch(50), 50);
    /// ```
    pub fn batch(&self, most: usize) -> usize {
        match self {
            // The conversion saturates, so a number beyond the range becomes the largest.
            Self::Rate(rate) => most.min((rate / 10.0) as usize).max(1),
            _ => most.max(1),
        }
    }

    /// Returns the minimum time of a replay of this many events: the pauses, without the work.
    /// ```
    /// use std::time::Duration;
    /// use event_replay_replay::Pace;
    /// assert_eq!(Pace::Delay(Duration::from_secs(1)).estimate(101, 50), Duration::from_secs(2));
    /// assert_eq!(Pace::Rate(10.0).estimate(101, 50), Duration::from_secs(10));
    /// ```
    pub fn estimate(&self, events: u64, batch_size: usize) -> Duration {
        let batch_size = self.batch(batch_size) as u64;
        let pauses = events.div_ceil(batch_size).saturating_sub(1);
        match self {
            Self::Unpaced => Duration::ZERO,
            Self::Delay(delay) => seconds(delay.as_secs_f64() * pauses as f64),
            Self::Rate(rate) => seconds((pauses * batch_size) as f64 / rate),
        }
    }
}

/// Converts a number of seconds. A number that is too large or invalid becomes the longest duration.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

mod microseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(delay: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(domain::time::whole_micros(*delay))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_micros)
    }
}

/// Keeps a pace. It returns the time at which the next batch may be sent.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    next: Option<Instant>,
}

impl Pacer {
    /// Returns a pacer whose first batch may be sent now.
    pub fn new(pace: Pace) -> Self {
        Self { pace, next: None }
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Changes the pace. A batch that waits under the old pace waits no longer than one batch of this size does under the new one.
    pub(crate) fn set(&mut self, pace: Pace, batch_size: usize) {
        self.pace = pace;
        let longest = match pace {
            Pace::Unpaced => None,
            Pace::Delay(delay) => Some(after(delay)),
            Pace::Rate(rate) => Some(after(seconds(batch_size as f64 / rate))),
        };
        self.next = self.next.zip(longest).map(|(next, longest)| next.min(longest));
    }

    /// Returns the time at which a batch may be sent. None means now.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Records that this many events are sent now. The times of several parts of a batch add up.
    pub fn sending(&mut self, events: usize) {
        if let Pace::Rate(rate) = self.pace {
            let behind =
                self.next.map(|next| next.saturating_duration_since(Instant::now())).unwrap_or_default();
            self.next = Some(after(behind.saturating_add(seconds(events as f64 / rate))));
        }
    }

    /// Records that the batch has ended.
    pub fn done(&mut self) {
        if let Pace::Delay(delay) = self.pace {
            self.next = Some(after(delay));
        }
    }
}

/// Returns the time after a wait. A wait beyond the clock's range becomes one year.
fn after(wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + FAR)
}
