//! What to generate.

use std::time::Duration;

use jiff::Timestamp;

/// What a [`Generator`](crate::Generator) makes. The same settings give the same bytes, on every machine, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Where chance starts.
    pub seed: u64,
    /// How many events, valid and invalid together. From 200 on, all built-in types are among them.
    pub events: u64,
    /// The earliest time an event happened at, cut to milliseconds and to the years 1 to 9999.
    pub start: Timestamp,
    /// Over how long they happened.
    pub span: Duration,
    /// How many of a thousand events are invalid; 1000 and more count as 500.
    pub invalid_per_thousand: u16,
    /// How many users there are at most, those who register meanwhile among them. At least [`Settings::MIN_USERS`]:
    /// fewer are raised to it. A generator keeps a few dozen bytes for each.
    pub users: u32,
}

impl Settings {
    /// The fewest users, so that `user-123` is one of them.
    pub const MIN_USERS: u32 = 60;
    /// The most users that [`Settings::new`] chooses.
    pub const MAX_DERIVED_USERS: u32 = 250_000;

    /// Settings with 20 invalid events of a thousand, and a user for each 40 events.
    pub fn new(seed: u64, events: u64, start: Timestamp, span: Duration) -> Self {
        let users = (events / 40).clamp(Self::MIN_USERS.into(), Self::MAX_DERIVED_USERS.into());
        Self { seed, events, start, span, invalid_per_thousand: 20, users: users as u32 }
    }

    /// January 2024, which the examples of the documentation ask for.
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
