//! Commits in the model: the fenced commits, and the effects of the others.

use std::collections::BTreeSet;

use domain::{
    group::{LaneBatch, LaneOrigin, LaneProgress, LaneResult, Lease},
    ports::{CommitOutcome, SegmentCommit},
};
use jiff::Timestamp;

use super::{draw::Draw, oracle::Oracle};

impl Oracle {
    /// Returns whether a commit under a lease must be kept. Returns none if the ports do not define it: the lease was
    /// given back, and no consumer has taken the segment since.
    pub(super) fn holds(&self, lease: &Lease) -> Option<bool> {
        let group = self.groups.get(&lease.group);
        let segment = group.and_then(|group| group.segments.get(usize::from(lease.segment)));
        match segment.and_then(|segment| segment.held.as_ref()) {
            Some(held) if held.lease == *lease => (!held.given_back).then_some(true),
            _ => Some(false),
        }
    }

    /// Draws a commit with many kinds of changes to the segment of a lease, even if the lease is no longer valid.
    pub(super) fn draw_commit(&mut self, lease: Lease, draw: &mut Draw) -> SegmentCommit {
        let ids: Vec<String> = self.letters.iter().map(|letter| letter.id.clone()).collect();
        let segment = self.segment_mut(&lease.group, lease.segment).map(|it| it.clone()).unwrap_or_default();
        let cursor = segment.cursor + draw.rng.u64(..3);
        let claimed_to = cursor.max(segment.claimed_to) + draw.rng.u64(..3);
        let mut commit = SegmentCommit::new(lease, cursor, claimed_to);
        for _ in 0..draw.rng.usize(..3) {
            let row = draw.row();
            if commit.blocked.iter().all(|other| other.key != row.key) {
                commit.blocked.push(row);
            }
        }
        for _ in 0..draw.rng.usize(..3) {
            let key = draw.key();
            if commit.blocked.iter().all(|row| row.key != key) {
                commit.unblocked.push(key);
            }
        }
        let partition = segment.partition;
        commit.dead_letters = (0..draw.rng.usize(..6)).skip(3).map(|_| draw.dead_letter(partition)).collect();
        for id in ids {
            if draw.one_in(6) {
                commit.handled_dead_letters.push(id);
            }
        }
        for batch in &segment.lane {
            match draw.rng.u32(..4) {
                0 => commit.lane.push((batch.seq, draw.progress(batch.positions.len()))),
                1 => commit.lane_done.push((batch.seq, draw.last_progress(batch.positions.len()))),
                _ => {}
            }
        }
        for place in &segment.withdrawn {
            if draw.one_in(3) {
                commit.lane.push((*place, draw.progress(1)));
            }
        }
        commit.release = draw.one_in(8);
        commit
    }

    /// Applies a commit to the model. Returns the expected outcome.
    pub(super) fn commit(&mut self, commit: &SegmentCommit, now: Timestamp) -> CommitOutcome {
        let lease = &commit.lease;
        let holds = self.holds(lease).expect("a lease that holds or not");
        let segment = self.segment_mut(&lease.group, lease.segment).filter(|_| holds);
        let Some(segment) = segment else { return CommitOutcome::Fenced };
        let withdrawn: Vec<u64> =
            commit.lane.iter().map(|(place, _)| *place).filter(|it| segment.withdrawn.contains(it)).collect();
        (segment.cursor, segment.claimed_to) = (commit.cursor, commit.claimed_to);
        for key in &commit.unblocked {
            segment.rows.remove(key);
        }
        for row in &commit.blocked {
            segment.rows.insert(row.key.clone(), row.clone());
        }
        let (partition, mut done) = (segment.partition, Vec::new());
        for batch in std::mem::take(&mut segment.lane) {
            let find = |list: &[(u64, LaneProgress)]| {
                list.iter().find(|(seq, _)| *seq == batch.seq).map(|(_, progress)| progress.clone())
            };
            if let Some(progress) = find(&commit.lane_done) {
                done.push((batch, progress));
            } else {
                let progress = find(&commit.lane).unwrap_or(batch.progress);
                segment.lane.push(LaneBatch { progress, ..batch });
            }
        }
        if let Some(held) = &mut segment.held {
            held.given_back |= commit.release;
        }
        for (batch, progress) in done {
            if let LaneOrigin::Replay { replay_id, batch: number } = &batch.origin {
                let result = result(&lease.group, *number, &batch, &progress);
                self.results.entry(replay_id.clone()).or_default().push(result);
            }
        }
        for id in &commit.handled_dead_letters {
            self.handled(&lease.group, partition, id, now);
        }
        for new in &commit.dead_letters {
            self.give_up(&lease.group, new, now);
        }
        match withdrawn.is_empty() {
            true => CommitOutcome::Committed,
            false => CommitOutcome::CommittedWithout(withdrawn),
        }
    }
}

fn result(group: &str, number: u64, batch: &LaneBatch, progress: &LaneProgress) -> LaneResult {
    let skipped: BTreeSet<u64> =
        progress.skipped.iter().map(|index| batch.positions[*index as usize]).collect();
    let failed: Vec<(u64, String)> = progress
        .failed
        .iter()
        .map(|failure| (batch.positions[failure.index as usize], failure.error.clone()))
        .collect();
    let other =
        |position: &&u64| !skipped.contains(position) && failed.iter().all(|(failed, _)| failed != *position);
    LaneResult {
        batch: number,
        group: group.to_owned(),
        segment: batch.segment,
        handled: batch.positions.iter().filter(other).count() as u64,
        skipped: skipped.iter().copied().collect(),
        failed,
    }
}
