//! What a group has still to handle.

use jiff::Timestamp;
use serde::Serialize;

/// Events that a group looks at one by one, in one partition, to count what is pending: what the index cannot tell.
pub const MAX_PENDING_LOOKS: usize = 10_000;

/// Events of a group's types that the log holds and that are not handled, skipped, dead letters or expired yet.
///
/// An event counts as expired once a consumer has passed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// How many there are; at least so many where `is_exact` is false.
    #[serde(rename = "pending")]
    pub events: u64,
    /// Whether `events` is the exact number.
    #[serde(rename = "pendingIsExact")]
    pub is_exact: bool,
    /// When the oldest of them was stored; of those that were found, where `is_exact` is false.
    #[serde(rename = "oldestPending")]
    pub oldest: Option<Timestamp>,
}

impl Default for Pending {
    /// Nothing is pending.
    fn default() -> Self {
        Self { events: 0, is_exact: true, oldest: None }
    }
}

impl Pending {
    /// Adds what is pending elsewhere.
    pub fn add(&mut self, other: Self) {
        self.events = self.events.saturating_add(other.events);
        self.is_exact &= other.is_exact;
        self.oldest = [self.oldest, other.oldest].into_iter().flatten().min();
    }

    /// The number of events in words, for people.
    pub fn in_words(&self) -> String {
        match (self.is_exact, self.events) {
            (true, 1) => "1 event pending".to_owned(),
            (true, events) => format!("{events} events pending"),
            (false, events) => format!("at least {events} events pending"),
        }
    }

    /// The number, for people: `12`, or `>= 10000` where it is not exact.
    pub fn text(&self) -> String {
        match self.is_exact {
            true => self.events.to_string(),
            false => format!(">= {}", self.events),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_one_that_is_not_exact_makes_the_sum_so() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut sum = Pending::default();
        sum.add(Pending { events: 3, is_exact: true, oldest: Some(at(9)) });
        sum.add(Pending { events: 2, is_exact: true, oldest: Some(at(4)) });
        assert_eq!(
            (sum, sum.text()),
            (Pending { events: 5, is_exact: true, oldest: Some(at(4)) }, "5".to_owned())
        );
        sum.add(Pending { events: 0, is_exact: false, oldest: None });
        assert_eq!((sum.oldest, sum.text()), (Some(at(4)), ">= 5".to_owned()));
    }
}
