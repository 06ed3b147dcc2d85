//! Replay lanes: batches of references on their way through a group's segments.
//!
//! A lane's places are numbered without holes as batches are put in, and `LaneEnd` has the last: so a reader that follows it knows
//! the keys of everything that can have come, and reads just these.

use std::sync::Arc;

use domain::{
    StorageFailure,
    group::{LaneBatch, LaneOrigin, LaneProgress, MAX_LANE_REFERENCES, NewLaneBatch},
    ports::{
        EnqueueOutcome, GroupStoreError, ReplayLease,
        engine::{Guard, Outcome, Read, Snapshot, SpaceKind, Transaction},
    },
};
use futures_util::future::{join_all, try_join_all};

use super::{
    KnownBatch,
    record::{LaneRow, progress},
};
use crate::{
    Store,
    partition::Partition,
    replays::fence_guards,
    retry::OptimisticRetry,
    rows::{
        HOLDS, by_segment, counter, lane, named, number, number_in, number_key, of, of_segment, replay_batch,
        segment_in, segment_key, to_json,
    },
    store::Divided,
};

/// Most batches that one look fetches of a segment.
const MOST_FETCHED: u64 = 64;

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// What is asked of a lane: what lies behind a place, up to its end.
struct Behind {
    segment: u16,
    place: u64,
    end: u64,
}

impl Behind {
    /// A reader that follows the lane reads the few rows that may have come since. One that begins, or fell behind, would look at
    /// many places that are empty by now: it reads what the lane has.
    fn follows(&self) -> bool {
        self.end - self.place <= MOST_FETCHED
    }

    fn reads(&self, group: &str) -> Vec<Read> {
        let mut reads = Vec::new();
        for kind in [SpaceKind::Lane, SpaceKind::LaneProgress] {
            if self.follows() {
                let places = self.place + 1..=self.end;
                reads.extend(places.map(|place| Read::Row(lane(kind, group, self.segment, place))));
                continue;
            }
            let limit = if kind == SpaceKind::Lane { MOST_FETCHED as usize } else { usize::MAX };
            let (space, after) = (of_segment(kind, group, self.segment), Some(number_key(self.place)));
            reads.push(Read::Range { space, after, before: None, reverse: false, limit });
        }
        reads
    }

    /// The rows that the reads of a kind found.
    fn found(&self, kind: SpaceKind, group: &str, found: &mut Snapshot) -> Rows {
        match self.follows() {
            false => found.range(),
            true => (self.place + 1..=self.end)
                .filter_map(|place| Some((lane(kind, group, self.segment, place).key, found.row()?)))
                .collect(),
        }
    }
}

/// A lane as an enqueue sees it, and as it will be after what was decided so far.
#[derive(Debug, Clone, Default)]
struct End {
    last: u64,
    value: Option<Vec<u8>>,
    references: usize,
}

/// Puts a batch at the end of its segment's lane, which is at `end`. References of the lane are counted beside.
pub(crate) fn push(
    transaction: &mut Transaction,
    (group, segment): (&str, u16),
    end: (u64, Option<&[u8]>),
    batch: &LaneRow,
) -> Result<(), StorageFailure> {
    let (last, value) = end;
    let row = by_segment(SpaceKind::LaneEnd, group, segment);
    transaction.guard(Guard::Is(named(SpaceKind::Incarnation, group), batch.incarnation.as_bytes().to_vec()));
    transaction.guard(Guard::still(row.clone(), value));
    transaction.put(row, (last + 1).to_string());
    transaction.put(lane(SpaceKind::Lane, group, segment, last + 1), to_json(batch)?);
    let references = i64::try_from(batch.positions.len()).unwrap_or(i64::MAX);
    transaction.add(by_segment(SpaceKind::LaneSize, group, segment), references);
    transaction.add(counter(HOLDS), 1);
    Ok(())
}

/// What one attempt to enqueue decided: an outcome for each batch, or the number of its transaction.
enum Decided {
    Settled(EnqueueOutcome),
    Pushed,
}

impl Store {
    pub(super) async fn enqueue_batches(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        if batches.is_empty() {
            // Without batches the runner's right is asked for all the same.
            return self.first().enqueue(runner, &[]).await;
        }
        let of = |batch: &NewLaneBatch| self.partition_of_segment(batch.segment);
        let divided = Divided::new(self, batches.iter().map(|batch| (of(batch), batch)));
        let asked = divided.parts().map(|(number, batches)| self.partition(number).enqueue(runner, batches));
        let asked: Vec<_> = asked.collect();
        let answers = join_all(asked).await.into_iter().collect::<Result<Vec<_>, GroupStoreError>>()?;
        Ok(divided.gather(EnqueueOutcome::NoGroup, answers))
    }

    pub(super) async fn lane_batches(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, StorageFailure> {
        let of = |(segment, _): &(u16, u64)| self.partition_of_segment(*segment);
        let divided = Divided::new(self, after.iter().map(|place| (of(place), *place)));
        let parts: Vec<_> = divided.parts().collect();
        let each = limit.div_ceil(parts.len().max(1));
        let asked =
            parts.iter().map(|(number, after)| self.lane_in(self.partition(*number), group, after, each));
        Ok(try_join_all(asked).await?.into_iter().flatten().collect())
    }

    async fn lane_in(
        &self,
        partition: Partition<'_>,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, StorageFailure> {
        // Asked many times a second, and mostly there is nothing.
        let reads = [SpaceKind::LaneEnd, SpaceKind::LaneSize].map(|kind| Read::all(of(kind, group)));
        let mut found = partition.get(&reads).await?;
        let (ends, sizes) = (found.range(), found.range());
        let mut asked = Vec::new();
        for (segment, place) in after {
            let key = segment_key(*segment);
            let value = |rows: &[(Vec<u8>, Vec<u8>)]| {
                number(rows.iter().find(|(at, _)| *at == key).map(|(_, value)| &value[..]))
            };
            let (end, size) = (value(&ends)?, value(&sizes)?);
            if end > *place && size > 0 {
                asked.push(Behind { segment: *segment, place: *place, end });
            }
        }
        match asked.is_empty() {
            true => Ok(Vec::new()),
            false => Ok(choose(self.fetch(partition, group, &asked).await?, limit)),
        }
    }

    /// Batches behind places, of each segment in turn.
    async fn fetch(
        &self,
        partition: Partition<'_>,
        group: &str,
        asked: &[Behind],
    ) -> Result<Vec<Vec<LaneBatch>>, StorageFailure> {
        let reads: Vec<Read> = asked.iter().flat_map(|behind| behind.reads(group)).collect();
        let mut found = partition.get(&reads).await?;
        let generation = found.generation;
        let mut lanes = Vec::with_capacity(asked.len());
        for behind in asked {
            let rows = behind.found(SpaceKind::Lane, group, &mut found);
            let noted = behind.found(SpaceKind::LaneProgress, group, &mut found);
            let mut batches = Vec::with_capacity(rows.len());
            for (key, value) in rows {
                let place = number_in(&key)?;
                let row = LaneRow::read(place, &value)?;
                let known = KnownBatch { generation, row: Arc::new(row.clone()) };
                self.remembered().note_batch(group, behind.segment, place, known);
                let noted = noted.iter().find(|(at, _)| *at == key).map(|(_, value)| progress(place, value));
                batches.push(row.batch(behind.segment, place, noted.transpose()?.unwrap_or_default()));
            }
            lanes.push(batches);
        }
        Ok(lanes)
    }

    pub(super) async fn withdraw_batches(&self, replay_id: &str) -> Result<u64, StorageFailure> {
        let parts = self.partitions().map(|partition| partition.withdraw(replay_id));
        Ok(try_join_all(parts).await?.into_iter().sum())
    }
}

/// The first batch of each segment, then more of each as long as they fit, each segment in turn.
fn choose(lanes: Vec<Vec<LaneBatch>>, limit: usize) -> Vec<LaneBatch> {
    let firsts = lanes.iter().filter_map(|lane| lane.first());
    let mut references: usize = firsts.map(|batch| batch.positions.len()).sum();
    let mut chosen = Vec::new();
    for lane in lanes {
        let mut lane = lane.into_iter();
        chosen.extend(lane.next());
        for batch in lane {
            if references + batch.positions.len() > limit {
                break;
            }
            references += batch.positions.len();
            chosen.push(batch);
        }
    }
    chosen
}

/// What a replay sent: its id and the number of its batch.
fn replay_of(origin: &LaneOrigin) -> Option<(&str, u64)> {
    match origin {
        LaneOrigin::Replay { replay_id, batch } => Some((replay_id, *batch)),
        LaneOrigin::Redrive { .. } | LaneOrigin::Discarded { .. } => None,
    }
}

impl Partition<'_> {
    async fn enqueue(
        self,
        runner: Option<&ReplayLease>,
        batches: &[&NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        let mut outcomes: Vec<Option<EnqueueOutcome>> = vec![None; batches.len()];
        let mut retry = OptimisticRetry::new();
        loop {
            let open: Vec<usize> = (0..batches.len()).filter(|at| outcomes.get(*at) == Some(&None)).collect();
            let asked: Vec<&NewLaneBatch> = open.iter().filter_map(|at| batches.get(*at).copied()).collect();
            let (decided, transactions) = self.decide_enqueue(runner, &asked).await?;
            if transactions.is_empty() && runner.is_some() && !self.may_run(runner).await? {
                return Err(GroupStoreError::RunnerFenced);
            }
            let mut answers = self.commit(&transactions).await?.into_iter();
            let fences = if runner.is_some() { 2 } else { 0 };
            for (at, decided) in open.iter().zip(decided) {
                let outcome = match decided {
                    Decided::Settled(outcome) => Some(outcome),
                    Decided::Pushed => match answers.next() {
                        Some(Outcome::Done { .. }) => Some(EnqueueOutcome::Queued),
                        Some(Outcome::Refused { guard }) if guard < fences => {
                            return Err(GroupStoreError::RunnerFenced);
                        }
                        _ => None,
                    },
                };
                if let Some(own) = outcomes.get_mut(*at) {
                    *own = outcome;
                }
            }
            if outcomes.iter().all(Option::is_some) {
                return Ok(outcomes.into_iter().flatten().collect());
            }
            retry.again().await?;
        }
    }

    /// Whether a runner's lease is the newest of its replay here.
    async fn may_run(self, runner: Option<&ReplayLease>) -> Result<bool, StorageFailure> {
        let Some(runner) = runner else { return Ok(true) };
        let fence = named(SpaceKind::ReplayFence, &runner.replay_id);
        let mut found = self.get(&[Read::Row(fence)]).await?;
        let value = found.row();
        Ok(value.as_deref() == Some(&crate::replays::fence_value(runner, found.generation)[..]))
    }

    /// Decides on batches as the lanes are now, each after those before it. A lane only shrinks by what others do meanwhile,
    /// since its end is guarded: so its bound holds.
    async fn decide_enqueue(
        self,
        runner: Option<&ReplayLease>,
        batches: &[&NewLaneBatch],
    ) -> Result<(Vec<Decided>, Vec<Transaction>), StorageFailure> {
        let mut groups: Vec<&str> = batches.iter().map(|batch| batch.group.as_str()).collect();
        groups.sort_unstable();
        groups.dedup();
        let incarnations = self.incarnations(&groups).await?;
        let incarnation = |group: &str| {
            let at = groups.binary_search(&group).ok()?;
            incarnations.get(at).cloned().flatten()
        };
        let mut reads = Vec::with_capacity(5 * batches.len());
        for batch in batches {
            let row = |kind| Read::Row(by_segment(kind, &batch.group, batch.segment));
            reads.extend([SpaceKind::Segment, SpaceKind::LaneEnd, SpaceKind::LaneSize].map(row));
            let (id, nth) = replay_of(&batch.origin).unwrap_or(("", 0));
            let of_group = incarnation(&batch.group).unwrap_or_default();
            reads.push(Read::Row(replay_batch(id, nth, &batch.group, batch.segment, &of_group)));
            reads.push(Read::Row(named(SpaceKind::ReplaySettled, id)));
        }
        let mut found = self.get(&reads).await?;
        let mut ends: std::collections::HashMap<(&str, u16), End> = std::collections::HashMap::new();
        let mut queued = std::collections::HashSet::new();
        let (mut decided, mut transactions) = (Vec::with_capacity(batches.len()), Vec::new());
        for batch in batches {
            let (segment, last, size) = (found.row(), found.row(), found.row());
            let (marker, settled) = (found.row(), number(found.row().as_deref())?);
            let (Some(of_group), Some(_)) = (incarnation(&batch.group), segment) else {
                decided.push(Decided::Settled(EnqueueOutcome::NoGroup));
                continue;
            };
            let replay = replay_of(&batch.origin);
            let place = (batch.group.as_str(), batch.segment);
            let is_known = replay.is_some_and(|(id, nth)| {
                marker.is_some() || settled > nth || !queued.insert((id.to_owned(), nth, place))
            });
            if is_known {
                decided.push(Decided::Settled(EnqueueOutcome::AlreadyQueued));
                continue;
            }
            let end = match ends.entry(place) {
                std::collections::hash_map::Entry::Occupied(end) => end.into_mut(),
                std::collections::hash_map::Entry::Vacant(free) => free.insert(End {
                    last: number(last.as_deref())?,
                    references: number(size.as_deref())? as usize,
                    value: last,
                }),
            };
            let references = batch.positions.len();
            if end.references > 0 && end.references.saturating_add(references) > MAX_LANE_REFERENCES {
                if let Some((id, nth)) = replay {
                    queued.remove(&(id.to_owned(), nth, place));
                }
                decided.push(Decided::Settled(EnqueueOutcome::Full));
                continue;
            }
            let row = LaneRow {
                origin: batch.origin.clone(),
                incarnation: of_group,
                positions: batch.positions.clone(),
            };
            let mut transaction = Transaction::new();
            if let Some(runner) = runner {
                fence_guards(&mut transaction, runner, found.generation);
            }
            push(&mut transaction, place, (end.last, end.value.as_deref()), &row)?;
            if let Some((id, nth)) = replay {
                let marker = replay_batch(id, nth, place.0, place.1, &row.incarnation);
                transaction.guard(Guard::Absent(marker.clone())).put(marker, Vec::new());
            }
            end.last += 1;
            end.value = Some(end.last.to_string().into_bytes());
            end.references += references;
            transactions.push(transaction);
            decided.push(Decided::Pushed);
        }
        Ok((decided, transactions))
    }

    /// Takes the batches of a replay of which nothing was handed over out of all lanes; how many references went.
    async fn withdraw(self, replay_id: &str) -> Result<u64, StorageFailure> {
        let mut went = 0;
        for group in self.groups().await? {
            let name = group.name();
            let sizes = self.get(&[Read::all(of(SpaceKind::LaneSize, name))]).await?.range();
            for (key, size) in sizes {
                if number(Some(&size))? > 0 {
                    went += self.withdraw_from(name, segment_in(&key)?, replay_id).await?;
                }
            }
        }
        Ok(went)
    }

    async fn withdraw_from(self, group: &str, segment: u16, replay_id: &str) -> Result<u64, StorageFailure> {
        let reads = [SpaceKind::Lane, SpaceKind::LaneProgress]
            .map(|kind| Read::all(of_segment(kind, group, segment)));
        let mut found = self.get(&reads).await?;
        let (batches, noted) = (found.range(), found.range());
        let (mut transactions, mut lengths) = (Vec::new(), Vec::new());
        for (key, value) in batches {
            let place = number_in(&key)?;
            let row = LaneRow::read(place, &value)?;
            if replay_of(&row.origin).is_none_or(|(id, _)| id != replay_id) {
                continue;
            }
            let of_batch = noted.iter().find(|(at, _)| *at == key).map(|(_, value)| value);
            if !is_untouched(of_batch.map(|value| progress(place, value)).transpose()?.as_ref()) {
                continue;
            }
            let (at, beside) = (
                lane(SpaceKind::Lane, group, segment, place),
                lane(SpaceKind::LaneProgress, group, segment, place),
            );
            let references = row.positions.len();
            let mut transaction = Transaction::new().even_when_full();
            transaction.guard(Guard::Present(at.clone()));
            transaction.guard(Guard::still(beside.clone(), of_batch.map(|value| &value[..])));
            transaction.delete(at).delete(beside);
            let size = by_segment(SpaceKind::LaneSize, group, segment);
            transaction.add(size, -i64::try_from(references).unwrap_or(i64::MAX));
            transactions.push(transaction);
            lengths.push(references as u64);
        }
        if transactions.is_empty() {
            return Ok(0);
        }
        // One that was handed over meanwhile stays.
        let outcomes = self.commit(&transactions).await?;
        let gone = outcomes.iter().zip(lengths).filter(|(outcome, _)| outcome.is_done());
        Ok(gone.map(|(_, references)| references).sum())
    }

    /// The ends of lanes: the last place of each, and the value that says so.
    pub(crate) async fn lane_ends(
        self,
        lanes: &[(String, u16)],
    ) -> Result<Vec<(u64, Option<Vec<u8>>)>, StorageFailure> {
        let row =
            |(group, segment): &(String, u16)| Read::Row(by_segment(SpaceKind::LaneEnd, group, *segment));
        let reads: Vec<Read> = lanes.iter().map(row).collect();
        let mut found = self.get(&reads).await?;
        let mut ends = Vec::with_capacity(lanes.len());
        for _ in lanes {
            let value = found.row();
            ends.push((number(value.as_deref())?, value));
        }
        Ok(ends)
    }
}

/// Whether nothing of a batch was handed over.
fn is_untouched(progress: Option<&LaneProgress>) -> bool {
    progress.is_none_or(|progress| progress.claimed_to == 0 && progress.done.is_empty())
}
