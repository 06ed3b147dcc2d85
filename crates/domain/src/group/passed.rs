//! The events that a group passed and certainly did not deliver.
//!
//! The store keeps no state for each event that a group has passed. It keeps these bounds, which follow from the place
//! where the group began, from resets and from changes of its types. They never include an event that a consumer may
//! have handled, so they leave out events where that is unknown.

use serde::{Deserialize, Serialize};

use super::spec::takes;
use crate::filter::TypePattern;

/// Most lists of earlier types that are kept. Beyond this number, the two oldest become one.
pub const MAX_EARLIER_TYPES: usize = 50;

/// The events that a group passed in one partition and certainly did not deliver.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PassedEvents {
    /// Events up to this sequence are before the place where the group began. No consumer has read them.
    pub before_start: u64,
    /// The range that a reset skipped. It is the newest such range.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkippedRange>,
    /// Highest sequence that a consumer may have read before a reset.
    pub read_to: u64,
    /// Lists of types that the group had before its present types, the oldest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<EarlierTypes>,
}

/// A range of the log that a reset skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SkippedRange {
    /// The sequence after which the range begins (exclusive).
    pub after: u64,
    /// The last sequence of the range (inclusive).
    pub through: u64,
}

/// Types that a group had until they were changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlierTypes {
    /// The types. Empty means all.
    pub types: Vec<TypePattern>,
    /// The sequence up to which every segment had passed the log at the change, before the events of blocked keys.
    pub through: u64,
}

impl PassedEvents {
    /// Returns the state of a group that begins after a sequence.
    pub fn of_new_group(begins_after: u64) -> Self {
        Self { before_start: begins_after, ..Self::default() }
    }

    /// Records a reset to a mark. `read_to` is the highest sequence that a consumer may have read since the reset
    /// before it, if a consumer has read any.
    pub fn reset(&mut self, mark: u64, read_to: Option<u64>) {
        self.read_to = self.read_to.max(read_to.unwrap_or(0));
        let after = self.read_to.max(self.before_start);
        self.skipped = match self.skipped {
            _ if mark > after => Some(SkippedRange { after, through: mark }),
            skipped => skipped
                .filter(|range| range.after < mark)
                .map(|range| SkippedRange { through: range.through.min(mark), ..range }),
        };
        self.before_start = self.before_start.min(mark);
        for earlier in &mut self.types {
            earlier.through = earlier.through.min(mark);
        }
    }

    /// Records that the group had these types until now. `through` is the sequence up to which every segment has passed
    /// the log.
    pub fn change_types(&mut self, types: Vec<TypePattern>, through: u64) {
        self.types.push(EarlierTypes { types, through });
        while self.types.len() > MAX_EARLIER_TYPES {
            let oldest = self.types.remove(0);
            if let Some(next) = self.types.first_mut() {
                next.join(oldest);
            }
        }
    }

    /// Returns the sequence up to which no list of types took a type. Consumers passed these events without delivering
    /// them. It is 0 for a type that the group took from its start.
    pub fn passed_without(&self, event_type: &str) -> u64 {
        let without = self.types.iter().take_while(|earlier| !takes(&earlier.types, event_type));
        without.map(|earlier| earlier.through).max().unwrap_or(0)
    }
}

impl EarlierTypes {
    /// Adds the types of an older list. The result takes every type that either list took.
    fn join(&mut self, older: Self) {
        match self.types.is_empty() || older.types.is_empty() {
            true => self.types.clear(),
            false => self.types.extend(older.types),
        }
        self.types.sort_unstable();
        self.types.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(types: &[&str]) -> Vec<TypePattern> {
        types.iter().copied().map(TypePattern::new).collect()
    }

    fn range(after: u64, through: u64) -> Option<SkippedRange> {
        Some(SkippedRange { after, through })
    }

    #[test]
    fn a_reset_forward_skips_the_events_that_no_consumer_has_read() {
        let mut passed = PassedEvents::of_new_group(10);
        passed.reset(50, Some(30));
        assert_eq!((passed.before_start, passed.skipped), (10, range(30, 50)));
        // Nothing was read since. The next reset skips more of the same events.
        passed.reset(80, None);
        assert_eq!(passed.skipped, range(30, 80));
    }

    #[test]
    fn a_reset_back_leaves_nothing_skipped_that_the_group_reads_again() {
        let mut passed = PassedEvents::of_new_group(10);
        passed.reset(50, Some(30));
        passed.reset(40, None);
        assert_eq!((passed.before_start, passed.skipped), (10, range(30, 40)));
        passed.reset(5, None);
        assert_eq!((passed.before_start, passed.skipped), (5, None));
        // Events up to 30 were read before, so they do not count as skipped.
        passed.reset(60, None);
        assert_eq!((passed.before_start, passed.skipped), (5, range(30, 60)));
    }

    #[test]
    fn a_reset_before_any_event_was_read_skips_the_events_after_the_start() {
        let mut passed = PassedEvents::of_new_group(10);
        passed.reset(20, None);
        assert_eq!((passed.before_start, passed.skipped), (10, range(10, 20)));
    }

    #[test]
    fn a_type_is_passed_up_to_the_change_that_added_it() {
        let mut passed = PassedEvents::of_new_group(0);
        passed.change_types(patterns(&["a.*"]), 10);
        passed.change_types(patterns(&["a.*", "b"]), 25);
        assert_eq!([passed.passed_without("a.x"), passed.passed_without("b")], [0, 10]);
        assert_eq!(passed.passed_without("c"), 25);
        // A group that took every type has passed no event without delivering it.
        let mut all = PassedEvents::of_new_group(0);
        all.change_types(Vec::new(), 10);
        assert_eq!(all.passed_without("c"), 0);
        // After a reset, the group reads the later events again with its present types.
        passed.reset(8, Some(25));
        assert_eq!([passed.passed_without("b"), passed.passed_without("c")], [8, 8]);
    }

    #[test]
    fn beyond_the_bound_the_two_oldest_lists_become_one_that_takes_more() {
        let mut passed = PassedEvents::of_new_group(0);
        for n in 0..=MAX_EARLIER_TYPES as u64 {
            passed.change_types(patterns(&[&format!("t{n}")]), 10 * n);
        }
        assert_eq!(passed.types.len(), MAX_EARLIER_TYPES);
        assert_eq!(passed.types[0], EarlierTypes { types: patterns(&["t0", "t1"]), through: 10 });
        assert_eq!([passed.passed_without("t0"), passed.passed_without("t1")], [0, 0]);
        let mut all = PassedEvents::of_new_group(0);
        all.change_types(Vec::new(), 0);
        for n in 0..MAX_EARLIER_TYPES as u64 {
            all.change_types(patterns(&[&format!("t{n}")]), 10 * n);
        }
        assert_eq!(all.passed_without("other"), 0);
    }
}
