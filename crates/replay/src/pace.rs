//! How fast a replay goes.
//!
//! Time is the runtime's monotonic clock: a step of the wall clock neither stalls a replay nor lets it burst. Time lost
//! is not made up for, which is what keeps the bound of a rate in every window and not only on average.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::ReplayError;

/// How fast a replay goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Pace {
    /// As fast as store and target allow.
    Unpaced,
    /// A pause between the end of one batch and the start of the next; written in microseconds.
    #[serde(with = "microseconds")]
    Delay(Duration),
    /// Events a second, evenly spaced: batches are [as small](Pace::batch) as a tenth of a second's worth. In any window of `w`
    /// seconds at most `rate × w` events and one batch are sent, retries included.
    Rate(f64),
}

impl Default for Pace {
    /// A second between batches.
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
    /// Checks that it is a pace at all.
    ///
    /// # Errors
    /// When a rate is not a positive number.
    pub fn check(&self) -> Result<(), ReplayError> {
        match self {
            Self::Rate(rate) if !(rate.is_finite() && *rate > 0.0) => Err(ReplayError::InvalidOption(
                format!("a rate is a positive number of events a second, such as 100 or 0.5; this is {rate}"),
            )),
            _ => Ok(()),
        }
    }

    /// How many events go at once, of those that may: under a rate no more than come in a tenth of a second, and at least one.
    ///
    /// ```
    /// use event_replay_replay::Pace;
    /// assert_eq!(Pace::Rate(5.0).batch(50), 1);
    /// assert_eq!(Pace::Rate(200.0).batch(50), 20);
    /// assert_eq!(Pace::Unpaced.batch(50), 50);
    /// ```
    pub fn batch(&self, most: usize) -> usize {
        match self {
            // A number beyond the greatest becomes that one.
            Self::Rate(rate) => most.min((rate / 10.0) as usize).max(1),
            _ => most.max(1),
        }
    }

    /// The least time that a replay of this many events takes: the pauses, without the work.
    ///
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

/// A duration of so many seconds; the longest where they are too many, or no number.
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

/// Keeps a pace: says when the next batch may go.
#[derive(Debug)]
pub(crate) struct Pacer {
    pace: Pace,
    next: Option<Instant>,
}

impl Pacer {
    pub(crate) fn new(pace: Pace) -> Self {
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

    /// When a batch may be sent; none: now.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// A batch of so many events is sent now.
    pub(crate) fn sending(&mut self, events: usize) {
        if let Pace::Rate(rate) = self.pace {
            self.next = Some(after(seconds(events as f64 / rate)));
        }
    }

    /// The batch is done.
    pub(crate) fn done(&mut self) {
        if let Pace::Delay(delay) = self.pace {
            self.next = Some(after(delay));
        }
    }
}

/// So long from now, or as far away as can be waited for.
fn after(wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or(now + FAR)
}
