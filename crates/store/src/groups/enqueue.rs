//! Adds batches to lanes. The end of a lane is guarded, so that its places have no gaps and no batch is queued twice.

use std::collections::{HashMap, HashSet, hash_map::Entry};

use domain::{
    StorageFailure,
    group::{LaneOrigin, MAX_LANE_REFERENCES, NewLaneBatch},
    ports::{
        EnqueueOutcome, GroupStoreError, ReplayLease,
        engine::{Guard, Read, SpaceKind, Transaction},
    },
};

use super::record::LaneRow;
use crate::{
    partition::{Decision, Partition},
    replays::lease::{fence_guards, fence_row, is_fence_of},
    rows::{HOLDS, by_segment, counter, lane, named, number, replay_batch, to_json},
};

/// The end of a lane as it was read, updated by the decisions so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct LaneEnd {
    last: u64,
    value: Option<Vec<u8>>,
    references: usize,
}

impl LaneEnd {
    fn read(end: Option<Vec<u8>>, size: Option<&[u8]>) -> Result<Self, StorageFailure> {
        Ok(Self { last: number(end.as_deref())?, references: number(size)? as usize, value: end })
    }

    /// Returns whether `more` references exceed the bound of the lane. An empty lane accepts a batch of any length.
    fn is_full(&self, more: usize) -> bool {
        self.references > 0 && self.references.saturating_add(more) > MAX_LANE_REFERENCES
    }

    /// Adds a batch to the end of its segment's lane.
    pub(crate) fn push(
        &mut self,
        transaction: &mut Transaction,
        (group, segment): (&str, u16),
        batch: &LaneRow,
    ) -> Result<(), StorageFailure> {
        let row = by_segment(SpaceKind::LaneEnd, group, segment);
        let incarnation = named(SpaceKind::Incarnation, group);
        transaction.guard(Guard::Is(incarnation, batch.incarnation.as_bytes().to_vec()));
        transaction.guard(Guard::still(row.clone(), self.value.as_deref()));
        self.last += 1;
        let value = self.last.to_string().into_bytes();
        self.references += batch.positions.len();
        transaction.put(row, value.clone());
        self.value = Some(value);
        transaction.put(lane(SpaceKind::Lane, group, segment, self.last), to_json(batch)?);
        transaction.add(by_segment(SpaceKind::LaneSize, group, segment), batch.references());
        transaction.add(counter(HOLDS), 1);
        Ok(())
    }
}

/// Returns the replay id and the batch number, if a replay sent the batch.
pub(super) fn replay_of(origin: &LaneOrigin) -> Option<(&str, u64)> {
    match origin {
        LaneOrigin::Replay { replay_id, batch } => Some((replay_id, *batch)),
        LaneOrigin::Redrive { .. } | LaneOrigin::Discarded { .. } => None,
    }
}

impl Partition<'_> {
    pub(super) async fn enqueue(
        self,
        runner: Option<&ReplayLease>,
        batches: &[&NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        self.decide_each(batches, |batches| self.decide_enqueue(runner, batches)).await
    }

    /// Decides on batches against the current lanes. Each decision counts the batches before it. The end of each lane
    /// is guarded, so other callers can only shrink a lane meanwhile, and its bound holds.
    async fn decide_enqueue(
        self,
        runner: Option<&ReplayLease>,
        batches: Vec<&NewLaneBatch>,
    ) -> Result<Vec<Decision<EnqueueOutcome>>, GroupStoreError> {
        let names: HashSet<&str> = batches.iter().map(|batch| batch.group.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let incarnations: HashMap<&str, Option<String>> =
            names.iter().copied().zip(self.incarnations(&names).await?).collect();
        let incarnation = |batch: &NewLaneBatch| incarnations.get(batch.group.as_str()).cloned().flatten();
        let mut reads = Vec::with_capacity(1 + 5 * batches.len());
        reads.extend(runner.map(|runner| Read::Row(fence_row(&runner.replay_id))));
        for batch in &batches {
            let row = |kind| Read::Row(by_segment(kind, &batch.group, batch.segment));
            reads.extend([SpaceKind::Segment, SpaceKind::LaneEnd, SpaceKind::LaneSize].map(row));
            let (id, nth) = replay_of(&batch.origin).unwrap_or(("", 0));
            let of_group = incarnation(batch).unwrap_or_default();
            reads.push(Read::Row(replay_batch(id, nth, &batch.group, batch.segment, &of_group)));
            reads.push(Read::Row(named(SpaceKind::ReplaySettled, id)));
        }
        let mut found = self.get(&reads).await?;
        if let Some(runner) = runner
            && !is_fence_of(runner, found.row().as_deref(), found.generation)
        {
            return Err(GroupStoreError::RunnerFenced);
        }
        let mut ends: HashMap<(&str, u16), LaneEnd> = HashMap::new();
        let mut queued = HashSet::new();
        let mut decisions = Vec::with_capacity(batches.len());
        for batch in batches {
            let (segment, last, size) = (found.row(), found.row(), found.row());
            let (marker, settled) = (found.row(), number(found.row().as_deref())?);
            let (Some(incarnation), Some(_)) = (incarnation(batch), segment) else {
                decisions.push(Decision::Settled(EnqueueOutcome::NoGroup));
                continue;
            };
            let place = (batch.group.as_str(), batch.segment);
            let replay = replay_of(&batch.origin);
            let is_known = replay.is_some_and(|(id, nth)| {
                marker.is_some() || settled > nth || queued.contains(&(id, nth, place))
            });
            if is_known {
                decisions.push(Decision::Settled(EnqueueOutcome::AlreadyQueued));
                continue;
            }
            let end = match ends.entry(place) {
                Entry::Occupied(end) => end.into_mut(),
                Entry::Vacant(free) => free.insert(LaneEnd::read(last, size.as_deref())?),
            };
            if end.is_full(batch.positions.len()) {
                decisions.push(Decision::Settled(EnqueueOutcome::Full));
                continue;
            }
            let (origin, positions) = (batch.origin.clone(), batch.positions.clone());
            let row = LaneRow { origin, incarnation, positions };
            let mut transaction = Transaction::new();
            if let Some(runner) = runner {
                fence_guards(&mut transaction, runner, found.generation);
            }
            end.push(&mut transaction, place, &row)?;
            if let Some((id, nth)) = replay {
                let marker = replay_batch(id, nth, place.0, place.1, &row.incarnation);
                transaction.guard(Guard::Absent(marker.clone())).put(marker, Vec::new());
                queued.insert((id, nth, place));
            }
            decisions.push(Decision::Change(EnqueueOutcome::Queued, transaction));
        }
        Ok(decisions)
    }

    /// Returns the ends of lanes, without the number of references in the lanes.
    pub(crate) async fn lane_ends(self, lanes: &[(String, u16)]) -> Result<Vec<LaneEnd>, StorageFailure> {
        let row =
            |(group, segment): &(String, u16)| Read::Row(by_segment(SpaceKind::LaneEnd, group, *segment));
        let mut found = self.get(&lanes.iter().map(row).collect::<Vec<_>>()).await?;
        lanes.iter().map(|_| LaneEnd::read(found.row(), None)).collect()
    }
}
