//! What trims must keep: for checkpoints, replays and consumer groups; and what groups lost where none of it held.

use std::collections::HashSet;

use domain::{
    Event,
    group::{Gap, Key, segment_of},
    ports::{EventStoreError, GroupHolds, TrimRequest},
};
use jiff::Timestamp;

use crate::{
    groups::{Group, Segment},
    state::{PARTITION, PARTITIONS, State, earlier},
};

/// Something that keeps what comes after its mark, and who it is, for people.
pub(crate) type Hold = (u64, String);

/// The hold that keeps the most, the store's own included.
pub(crate) fn smallest(
    state: &State,
    request: &TrimRequest,
    now: Timestamp,
) -> Result<Option<Hold>, EventStoreError> {
    let mut holds = Vec::new();
    for hold in &request.holds {
        holds.push((state.sequence_of(&hold.mark)?, hold.holder.clone()));
    }
    let mut checkpoints: Vec<_> = state.checkpoints.iter().filter(|checkpoint| checkpoint.hold).collect();
    checkpoints.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
    for checkpoint in checkpoints {
        holds.push((state.sequence_of(&checkpoint.mark)?, format!("checkpoint {}", checkpoint.name)));
    }
    for replay in state.replays.oldest_first().into_iter().filter(|replay| !replay.state.is_final()) {
        if let Some(mark) = &replay.hold {
            holds.push((state.sequence_of(mark)?, format!("replay {}", replay.id)));
        }
    }
    holds.extend(of_groups(state, &request.groups, now));
    // Of equal marks the first is named.
    Ok(holds.into_iter().min_by_key(|(mark, _)| *mark))
}

fn of_groups(state: &State, holds: &GroupHolds, now: Timestamp) -> Vec<Hold> {
    let released = released_through(state, holds, now);
    let forgotten = earlier(now, holds.forgotten_after);
    let hold = |group: &Group| {
        let is_forgotten = forgotten.is_some_and(|instant| group.record.last_seen_at < instant);
        let mark = group.segments.iter().map(Segment::mark).min().filter(|_| !is_forgotten)?;
        Some((mark.max(released), format!("group {}", group.record.spec.name)))
    };
    state.groups.values().filter_map(hold).collect()
}

/// The newest sequence that is too old for any group to hold. Stored times never fall, so all before it are as well.
fn released_through(state: &State, holds: &GroupHolds, now: Timestamp) -> u64 {
    let Some(instant) = holds.max_hold.and_then(|most| earlier(now, most)) else { return 0 };
    let old = state.log.iter().rev().find(|(_, entry)| entry.stored_at < instant);
    old.map_or(0, |(sequence, _)| *sequence)
}

impl Segment {
    /// Everything of the segment at or below this sequence is done, and nothing waits there.
    fn mark(&self) -> u64 {
        let named = self.blocked.values().map(|row| row.position).chain(self.lane.positions()).min();
        named.map_or(self.cursor, |named| self.cursor.min(named.saturating_sub(1)))
    }
}

/// Notes in every group what of these events, which are about to go, it has not passed.
pub(crate) fn record_gaps(state: &mut State, going: &[u64], now: Timestamp) {
    let Some(last) = going.last() else { return };
    let log = &state.log;
    for group in state.groups.values_mut() {
        if group.segments.iter().map(Segment::mark).min().is_none_or(|mark| *last <= mark) {
            continue;
        }
        let unpassed = Unpassed::of(group);
        let event = |sequence: &u64| log.get(sequence).map(|entry| &entry.event);
        let lost = |sequence: &&u64| event(sequence).is_some_and(|event| unpassed.holds(**sequence, event));
        let lost: Vec<u64> = going.iter().filter(lost).copied().collect();
        if let (Some(from), Some(to)) = (lost.first(), lost.last()) {
            let gap = Gap { partition: PARTITION, from: *from, to: *to, at: now };
            note(&mut group.record.gaps, gap);
        }
    }
}

/// What a group has not passed.
struct Unpassed<'g> {
    group: &'g Group,
    /// The cursor of the slowest segment.
    cursor: u64,
    /// What its ledger and its lanes name.
    named: HashSet<u64>,
}

impl<'g> Unpassed<'g> {
    fn of(group: &'g Group) -> Self {
        let named = group.segments.iter().flat_map(|segment| {
            segment.blocked.values().map(|row| row.position).chain(segment.lane.positions())
        });
        let cursor = group.segments.iter().map(|segment| segment.cursor).min().unwrap_or(u64::MAX);
        Self { group, cursor, named: named.collect() }
    }

    fn holds(&self, sequence: u64, event: &Event) -> bool {
        sequence > self.cursor || self.named.contains(&sequence) || self.waits(sequence, event)
    }

    /// Whether an event is behind another of its key.
    fn waits(&self, sequence: u64, event: &Event) -> bool {
        let spec = &self.group.record.spec;
        let key = spec.key.of(event);
        let segment = segment_of(&key, PARTITION, PARTITIONS, spec.segments);
        let segment = self.group.segments.get(usize::from(segment));
        let row = segment.and_then(|segment| segment.blocked.get(&Key::from(key)));
        row.is_some_and(|row| (row.position..=row.through).contains(&sequence))
    }
}

/// Adds a gap. One that begins where the last ends is part of it: trims go in small steps.
fn note(gaps: &mut Vec<Gap>, gap: Gap) {
    match gaps.last_mut() {
        Some(last) if last.partition == gap.partition && last.to + 1 == gap.from => {
            last.to = gap.to;
            last.at = gap.at;
        }
        _ => gaps.push(gap),
    }
}
