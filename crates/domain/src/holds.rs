//! Holds: the events of one partition that trims must keep, the holder of each, and the events that a group has not
//! passed.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::{
    event::Event,
    group::{BlockedKey, GroupKey, Key},
};

/// A mark and its holder, for people. The holder keeps events after this sequence.
pub type HoldMark = (u64, String);

/// The holds of a partition at one moment.
#[derive(Debug, Clone, Default)]
pub struct Holds {
    /// Lowest mark of the holders that keep every event after their mark: checkpoints, replays, callers.
    firm: Option<HoldMark>,
    /// Lowest mark of the consumer groups.
    group: Option<HoldMark>,
    /// Groups hold no event that was stored before this time. If it is none, groups hold events of any age.
    released_before: Option<Timestamp>,
}

impl Holds {
    /// Returns a set without holds. Groups will hold no event that was stored before `released_before`.
    pub fn new(released_before: Option<Timestamp>) -> Self {
        Self { released_before, ..Self::default() }
    }

    /// Adds a holder that keeps every event after its mark. Among equal marks, the first holder is named.
    pub fn hold(&mut self, mark: u64, holder: impl Into<String>) {
        lower(&mut self.firm, mark, holder.into());
    }

    /// Adds a consumer group. Among equal marks, the first group is named.
    pub fn hold_for_group(&mut self, mark: u64, holder: impl Into<String>) {
        lower(&mut self.group, mark, holder.into());
    }

    /// Returns the holder of an event, if there is one. Among several holders, it is the holder with the lowest mark.
    /// Among equal marks, it is a holder other than a group.
    pub fn holder(&self, sequence: u64, stored_at: Timestamp) -> Option<&str> {
        let is_released = self.released_before.is_some_and(|before| stored_at < before);
        let group = self.group.as_ref().filter(|_| !is_released);
        [self.firm.as_ref(), group]
            .into_iter()
            .flatten()
            .filter(|(mark, _)| sequence > *mark)
            .min_by_key(|(mark, _)| *mark)
            .map(|(_, holder)| holder.as_str())
    }
}

fn lower(lowest: &mut Option<HoldMark>, mark: u64, holder: String) {
    if lowest.as_ref().is_none_or(|(lowest, _)| mark < *lowest) {
        *lowest = Some((mark, holder));
    }
}

/// Progress of a segment, with the events that wait in it.
#[derive(Debug, Clone, Default)]
pub struct SegmentProgress {
    /// Every event of the segment at or before this sequence is done, or is in `blocked` or `lane`.
    pub cursor: u64,
    /// Blocked and parked keys of the segment.
    pub blocked: Vec<BlockedKey>,
    /// Sequences of the references in the replay lane.
    pub lane: Vec<u64>,
}

impl SegmentProgress {
    /// Returns the sequence up to which every event of the segment is done and none waits.
    pub fn mark(&self) -> u64 {
        self.named().min().map_or(self.cursor, |named| self.cursor.min(named.saturating_sub(1)))
    }

    fn named(&self) -> impl Iterator<Item = u64> {
        self.blocked.iter().map(|row| row.position).chain(self.lane.iter().copied())
    }
}

/// The events of a partition that a group has not passed.
#[derive(Debug, Clone)]
pub struct Unpassed {
    key: GroupKey,
    segments: Vec<SegmentProgress>,
    named: HashSet<u64>,
}

impl Unpassed {
    /// Returns the events that a group with this order has not passed.
    pub fn new(key: GroupKey, segments: Vec<SegmentProgress>) -> Self {
        let named = segments.iter().flat_map(SegmentProgress::named).collect();
        Self { key, segments, named }
    }

    /// Returns the sequence up to which every segment has passed all events.
    pub fn mark(&self) -> u64 {
        self.segments.iter().map(SegmentProgress::mark).min().unwrap_or(u64::MAX)
    }

    /// Returns whether an event waits in the group, or whether the cursor of some segment has not reached it. `event`
    /// is none if the event cannot be read.
    pub fn has(&self, sequence: u64, event: Option<&Event>) -> bool {
        if self.segments.iter().any(|segment| sequence > segment.cursor) || self.named.contains(&sequence) {
            return true;
        }
        // The ledger does not list later events of a blocked key. Only their key identifies them.
        let in_reach = |row: &&BlockedKey| (row.position..=row.through).contains(&sequence);
        let rows = self.segments.iter().flat_map(|segment| &segment.blocked);
        let mut waiting = rows.filter(in_reach).peekable();
        let Some(event) = event.filter(|_| waiting.peek().is_some()) else { return false };
        let key = Key::from(self.key.of(event));
        waiting.any(|row| row.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, position: u64, through: u64) -> BlockedKey {
        BlockedKey {
            key: Key::new("user", key),
            position,
            through,
            claimed_to: 0,
            attempts: 0,
            ends: 0,
            due: None,
            error: String::new(),
            failures: Vec::new(),
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_lowest_mark_holds_and_of_equal_ones_the_firm() {
        let now = Timestamp::UNIX_EPOCH;
        let mut holds = Holds::new(Some(now));
        assert_eq!(holds.holder(1, now), None);
        holds.hold(5, "checkpoint a");
        holds.hold(5, "checkpoint b");
        holds.hold_for_group(5, "group g");
        assert_eq!((holds.holder(5, now), holds.holder(6, now)), (None, Some("checkpoint a")));
        holds.hold_for_group(3, "group h");
        assert_eq!(holds.holder(4, now), Some("group h"));
        let before = crate::time::earlier(now, std::time::Duration::from_secs(1));
        assert_eq!((holds.holder(4, before), holds.holder(6, before)), (None, Some("checkpoint a")));
    }

    #[test]
    fn a_segment_is_as_far_as_the_first_that_waits() {
        let mut segment = SegmentProgress { cursor: 9, ..SegmentProgress::default() };
        assert_eq!(segment.mark(), 9);
        segment.lane = vec![12, 6];
        assert_eq!(segment.mark(), 5);
        segment.blocked = vec![row("u", 4, 8)];
        assert_eq!(segment.mark(), 3);
        let unpassed = Unpassed::new(GroupKey::Event, vec![segment]);
        assert_eq!((unpassed.mark(), unpassed.has(10, None), unpassed.has(6, None)), (3, true, true));
        assert!(!unpassed.has(5, None), "of an event that cannot be read the key is not known");
        let event = |user: &str| {
            let json = format!(
                r#"{{"id":"e","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}},"userId":"{user}"}}"#
            );
            let event = crate::Document::parse(json.as_bytes(), &crate::Limits::default());
            let event = event.unwrap().into_event().unwrap();
            let key = crate::OrderingRule::default().resolve(&event, None);
            event.with_key_source(key)
        };
        assert!(unpassed.has(5, Some(&event("u"))) && !unpassed.has(5, Some(&event("w"))));
    }
}
