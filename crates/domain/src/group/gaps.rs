//! Gaps: events that retention removed before a group had passed them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Most gaps of a group in one partition. Beyond this number, the two oldest gaps become one.
pub const MAX_GAPS: usize = 100;

/// A range of events that a group did not get, because retention removed them first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// Partition of the gap.
    pub partition: u16,
    /// First sequence that was removed before the group had passed it.
    pub from: u64,
    /// Last sequence that was removed before the group had passed it.
    pub to: u64,
    /// Time of the removal.
    pub at: Timestamp,
}

impl Gap {
    /// Extends this gap over another gap and the range between the two.
    fn join(&mut self, other: &Self) {
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        self.at = self.at.max(other.at);
    }
}

/// Adds a gap to the gaps of a group in one partition, which are in the order of their recording. `nothing_between`
/// states that no event is left between the last gap and this one. The last gap then grows, because trims remove
/// events in small steps. Beyond [`MAX_GAPS`], the two oldest gaps become one.
pub fn note_gap(gaps: &mut Vec<Gap>, gap: Gap, nothing_between: bool) {
    match gaps.last_mut() {
        Some(last) if nothing_between => last.join(&gap),
        _ => gaps.push(gap),
    }
    while gaps.len() > MAX_GAPS {
        let oldest = gaps.remove(0);
        if let Some(next) = gaps.first_mut() {
            next.join(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from: u64, to: u64, second: i64) -> Gap {
        Gap { partition: 3, from, to, at: Timestamp::from_second(second).unwrap() }
    }

    #[test]
    fn the_last_gap_grows_where_nothing_is_left_between() {
        let mut gaps = Vec::new();
        note_gap(&mut gaps, gap(1, 3, 10), true);
        note_gap(&mut gaps, gap(4, 6, 20), true);
        assert_eq!(gaps, [gap(1, 6, 20)]);
        note_gap(&mut gaps, gap(9, 9, 30), false);
        note_gap(&mut gaps, gap(12, 15, 40), true);
        assert_eq!(gaps, [gap(1, 6, 20), gap(9, 15, 40)]);
        // A trim of other types may remove events before the last gap.
        note_gap(&mut gaps, gap(7, 8, 40), true);
        assert_eq!(gaps, [gap(1, 6, 20), gap(7, 15, 40)]);
        // A clock that steps back does not lower the time of a gap.
        note_gap(&mut gaps, gap(16, 16, 5), true);
        assert_eq!(gaps, [gap(1, 6, 20), gap(7, 16, 40)]);
    }

    #[test]
    fn beyond_the_bound_the_two_oldest_become_one() {
        let mut gaps = Vec::new();
        for n in 0..MAX_GAPS as u64 {
            note_gap(&mut gaps, gap(10 * n, 10 * n + 2, n as i64), false);
        }
        assert_eq!((gaps.len(), gaps[0].clone()), (MAX_GAPS, gap(0, 2, 0)));
        for n in MAX_GAPS as u64..MAX_GAPS as u64 + 5 {
            note_gap(&mut gaps, gap(10 * n, 10 * n + 2, n as i64), false);
        }
        assert_eq!(gaps.len(), MAX_GAPS);
        assert_eq!(gaps[..2], [gap(0, 52, 5), gap(60, 62, 6)]);
        assert_eq!(gaps.last(), Some(&gap(1040, 1042, 104)));
    }
}
