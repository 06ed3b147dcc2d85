//! Commits to segments: everything of one, or nothing, and nothing under a lease that is not the newest.

use domain::{
    group::LaneOrigin,
    ports::{CommitOutcome, SegmentCommit},
};
use jiff::Timestamp;

use crate::{groups::Segment, state::State};

pub(crate) fn commit(state: &mut State, commit: &SegmentCommit, now: Timestamp) -> CommitOutcome {
    let lease = &commit.lease;
    let group = state.groups.get_mut(&lease.group);
    let segment = group.and_then(|group| group.segments.get_mut(usize::from(lease.segment)));
    let Some(segment) = segment.filter(|segment| segment.is_newest(lease)) else {
        return CommitOutcome::Fenced;
    };
    let withdrawn = move_segment(segment, commit);
    for (seq, progress) in &commit.lane_done {
        // Whoever commits a second time after a lost answer has done it already.
        let Some(batch) = segment.lane.finish(*seq, progress) else { continue };
        if let (LaneOrigin::Replay { replay_id, .. }, Some(result)) =
            (&batch.origin, batch.result(&lease.group))
        {
            state.replays.keep_result(replay_id, result);
        }
    }
    // A letter that is reported again in the same commit is open again: so those that were handled go first.
    for id in &commit.handled_dead_letters {
        state.dead_letters.handle(&lease.group, id, now);
    }
    for new in &commit.dead_letters {
        let event = state.readable_event(new.position).cloned();
        state.dead_letters.put(&lease.group, new, event, now);
    }
    match withdrawn.is_empty() {
        true => CommitOutcome::Committed,
        false => CommitOutcome::CommittedWithout(withdrawn),
    }
}

/// Moves a segment; the lane batches that are not there any more.
fn move_segment(segment: &mut Segment, commit: &SegmentCommit) -> Vec<u64> {
    segment.cursor = commit.cursor;
    segment.claimed_to = commit.claimed_to;
    for key in &commit.unblocked {
        segment.blocked.remove(key);
    }
    for row in &commit.blocked {
        segment.blocked.insert(row.key.clone(), row.clone());
    }
    if commit.release
        && let Some(lease) = &mut segment.lease
    {
        lease.give_back();
    }
    let mut withdrawn = Vec::new();
    for (seq, progress) in &commit.lane {
        if !segment.lane.note(*seq, progress) {
            withdrawn.push(*seq);
        }
    }
    withdrawn
}
