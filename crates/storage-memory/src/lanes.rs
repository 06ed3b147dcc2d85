//! Replay lanes: batches of references on their way through a group's segments.

use std::collections::BTreeMap;

use domain::{
    group::{LaneBatch, LaneOrigin, LaneProgress, MAX_LANE_REFERENCES, NewLaneBatch},
    ports::{EnqueueOutcome, GroupStoreError, ReplayLease},
};

use crate::state::State;

/// The lane of one segment.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    batches: BTreeMap<u64, LaneBatch>,
    /// The place of the newest batch; it never falls.
    last: u64,
    references: usize,
}

impl Lane {
    /// References that are in it.
    pub(crate) fn references(&self) -> usize {
        self.references
    }

    /// Every sequence that it refers to.
    pub(crate) fn positions(&self) -> impl Iterator<Item = u64> {
        self.batches.values().flat_map(|batch| batch.positions.iter().copied())
    }

    pub(crate) fn push(&mut self, segment: u16, origin: LaneOrigin, positions: Vec<u64>) {
        self.last += 1;
        self.references += positions.len();
        let progress = LaneProgress::default();
        let batch = LaneBatch { seq: self.last, segment, origin, positions, progress };
        self.batches.insert(self.last, batch);
    }

    /// Keeps how far a batch is. Of one that has left the lane there is nothing to keep, and the
    /// answer is false.
    pub(crate) fn note(&mut self, seq: u64, progress: &LaneProgress) -> bool {
        let batch = self.batches.get_mut(&seq);
        batch.map(|batch| batch.progress.clone_from(progress)).is_some()
    }

    /// Takes a batch out, with its last progress.
    pub(crate) fn finish(&mut self, seq: u64, progress: &LaneProgress) -> Option<LaneBatch> {
        let batch = self.remove(seq)?;
        Some(LaneBatch { progress: progress.clone(), ..batch })
    }

    fn remove(&mut self, seq: u64) -> Option<LaneBatch> {
        let batch = self.batches.remove(&seq)?;
        self.references -= batch.positions.len();
        Some(batch)
    }

    fn after(&self, seq: u64) -> impl Iterator<Item = &LaneBatch> {
        self.batches.range(seq.saturating_add(1)..).map(|(_, batch)| batch)
    }

    fn has_room_for(&self, references: usize) -> bool {
        self.references == 0 || self.references + references <= MAX_LANE_REFERENCES
    }

    /// Takes out the batches of a replay of which nothing was handed over; how many references went.
    fn withdraw(&mut self, replay_id: &str) -> usize {
        let untouched = self.batches.values().filter(|batch| {
            let of_replay =
                matches!(&batch.origin, LaneOrigin::Replay { replay_id: id, .. } if id == replay_id);
            of_replay && batch.progress.claimed_to == 0 && batch.progress.done.is_empty()
        });
        let untouched: Vec<u64> = untouched.map(|batch| batch.seq).collect();
        untouched.into_iter().filter_map(|seq| self.remove(seq)).map(|batch| batch.positions.len()).sum()
    }
}

pub(crate) fn enqueue(
    state: &mut State,
    runner: Option<&ReplayLease>,
    batches: &[NewLaneBatch],
) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
    if runner.is_some_and(|lease| !state.replays.is_newest(lease)) {
        return Err(GroupStoreError::RunnerFenced);
    }
    Ok(batches.iter().map(|batch| enqueue_one(state, batch)).collect())
}

fn enqueue_one(state: &mut State, new: &NewLaneBatch) -> EnqueueOutcome {
    let group = state.groups.get_mut(&new.group);
    let Some(segment) = group.and_then(|group| group.segments.get_mut(usize::from(new.segment))) else {
        return EnqueueOutcome::NoGroup;
    };
    let of_replay = match &new.origin {
        LaneOrigin::Replay { replay_id, batch } => Some((replay_id, *batch)),
        LaneOrigin::Redrive { .. } | LaneOrigin::Discarded { .. } => None,
    };
    if of_replay.is_some_and(|(id, batch)| state.replays.had(id, &new.group, new.segment, batch)) {
        return EnqueueOutcome::AlreadyQueued;
    }
    if !segment.lane.has_room_for(new.positions.len()) {
        return EnqueueOutcome::Full;
    }
    if let Some((id, batch)) = of_replay {
        state.replays.note_queued(id, &new.group, new.segment, batch);
    }
    segment.lane.push(new.segment, new.origin.clone(), new.positions.clone());
    EnqueueOutcome::Queued
}

/// The first batch of each segment, then more of each as long as they fit.
pub(crate) fn lane(state: &State, group: &str, after: &[(u16, u64)], limit: usize) -> Vec<LaneBatch> {
    let Some(group) = state.groups.get(group) else { return Vec::new() };
    let lanes = after.iter().filter_map(|(segment, seq)| {
        let segment = group.segments.get(usize::from(*segment))?;
        Some(segment.lane.after(*seq).peekable())
    });
    let mut lanes: Vec<_> = lanes.collect();
    let mut found: Vec<Vec<LaneBatch>> =
        lanes.iter_mut().map(|lane| lane.next().cloned().into_iter().collect()).collect();
    let mut references: usize = found.iter().flatten().map(|batch| batch.positions.len()).sum();
    for (lane, found) in lanes.iter_mut().zip(&mut found) {
        while let Some(batch) = lane.next_if(|batch| references + batch.positions.len() <= limit) {
            references += batch.positions.len();
            found.push(batch.clone());
        }
    }
    found.into_iter().flatten().collect()
}

pub(crate) fn withdraw(state: &mut State, replay_id: &str) -> u64 {
    let segments = state.groups.values_mut().flat_map(|group| &mut group.segments);
    segments.map(|segment| segment.lane.withdraw(replay_id) as u64).sum()
}
