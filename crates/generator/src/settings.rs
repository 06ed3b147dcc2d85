//! The settings of a generator.

use std::time::Duration;

use jiff::Timestamp;

/// The settings of a [`Generator`](crate::Generator). The same settings always give the same bytes on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The seed of the random numbers.
    pub seed: u64,
    /// The number of events, valid and invalid together. With 200 events or more, all built-in types occur.
    pub events: u64,
    /// The earliest timestamp, cut to milliseconds and to the years 1 to 9999.
    pub start: Timestamp,
    /// The time range of the timestamps.
    pub span: Duration,
    /// The number of invalid events in a thousand. Values above 500 count as 500.
    pub invalid_per_thousand: u16,
    /// The maximum number of users, including users that register during the run. Values below [`Settings::MIN_USERS`]
    /// are raised to it. A generator keeps a few dozen bytes for each user.
    pub users: u32,
}

impl Settings {
    /// The least number of users. It makes `user-123` one of them.
    pub const MIN_USERS: u32 = 60;
    /// The maximum number of users that [`Settings::new`] chooses.
    pub const MAX_DERIVED_USERS: u32 = 250_000;

    /// Creates settings with 20 invalid events in a thousand, and one user for each 40 events within the bounds.
    pub fn new(seed: u64, events: u64, start: Timestamp, span: Duration) -> Self {
        let users = (events / 40).clamp(Self::MIN_USERS.into(), Self::MAX_DERIVED_USERS.into());
        Self { seed, events, start, span, invalid_per_thousand: 20, users: users as u32 }
    }

    /// Creates settings for January 2024, the month in the examples of the documentation.
    ///
    /// ```
    /// use event_replay_generator::{Generator, Settings};
    /// let first = Generator::new(Settings::demo(200)).next().unwrap();
    /// assert!(first.json.contains(r#""userId":"user-123""#));
    /// ```
    pub fn demo(events: u64) -> Self {
        const JANUARY: Duration = Duration::from_secs(31 * 24 * 60 * 60 - 1);
        // 2024-01-01T00:00:00Z
        let start = Timestamp::constant(1_704_067_200, 0);
        Self::new(20_240_115, events, start, JANUARY)
    }
}
