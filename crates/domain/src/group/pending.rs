//! The pending events of a group: its backlog.

use jiff::Timestamp;
use serde::Serialize;

/// Most events of one partition that a group reads one by one to count its pending events. It reads the events that
/// the index cannot count.
pub const MAX_PENDING_LOOKS: usize = 10_000;

/// Number and age of a group's pending events. An event is pending if the log holds it and its type is a type of the
/// group. It must also not be handled, skipped, a dead letter, or expired.
///
/// An event counts as expired after a consumer has passed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Number of pending events. It is a lower bound if `is_exact` is false.
    #[serde(rename = "pending")]
    pub events: u64,
    /// Whether `events` is the exact number.
    #[serde(rename = "pendingIsExact")]
    pub is_exact: bool,
    /// Stored time of the oldest pending event, or of the oldest one that was found if `is_exact` is false.
    #[serde(rename = "oldestPending")]
    pub oldest: Option<Timestamp>,
}

impl Default for Pending {
    /// Returns an empty backlog.
    fn default() -> Self {
        Self { events: 0, is_exact: true, oldest: None }
    }
}

impl Pending {
    /// Adds the pending events of another part.
    pub fn add(&mut self, other: Self) {
        self.events = self.events.saturating_add(other.events);
        self.is_exact &= other.is_exact;
        self.oldest = [self.oldest, other.oldest].into_iter().flatten().min();
    }

    /// Returns the number of events in words, for people.
    pub fn in_words(&self) -> String {
        match (self.is_exact, self.events) {
            (true, 1) => "1 event pending".to_owned(),
            (true, events) => format!("{events} events pending"),
            (false, events) => format!("at least {events} events pending"),
        }
    }

    /// Returns the number for people: `12`, or `>= 10000` if it is not exact.
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
