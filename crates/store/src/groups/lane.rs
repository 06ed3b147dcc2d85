//! Replay lanes: batches of references to replayed events, queued for the segments of a group.
//!
//! The places of a lane are numbered without gaps, in the order in which batches are added. `LaneEnd` holds the last
//! place. A reader that follows the lane therefore knows the keys of all new batches, and reads only these rows.

use std::{collections::HashMap, sync::Arc};

use domain::{
    StorageFailure,
    group::{LaneBatch, LaneProgress},
    ports::engine::{Guard, Read, Snapshot, SpaceKind, Transaction},
};

use super::{
    KnownBatch,
    enqueue::replay_of,
    record::{LaneRow, progress_at},
};
use crate::{
    Store,
    partition::Partition,
    rows::{
        Rows, by_segment, lane, number, number_in, number_key, of, of_segment, read_rows, segment_in,
        value_at,
    },
};

/// The most batches that one call fetches of a segment.
const MOST_FETCHED: u64 = 64;

/// A request to a lane: the batches after a place, up to the end of the lane.
struct Behind {
    segment: u16,
    place: u64,
    end: u64,
    /// The most batches to fetch at once.
    most: u64,
}

impl Behind {
    /// Returns whether the reader follows the lane closely. It then reads the few rows that may be new, by key. A
    /// reader that starts or lags would read many places that are empty by now. It reads a range instead.
    fn follows(&self) -> bool {
        self.end - self.place <= MOST_FETCHED
    }

    fn is_over(&self) -> bool {
        self.place >= self.end
    }

    fn last_place(&self) -> u64 {
        self.end.min(self.place.saturating_add(self.most))
    }

    fn reads(&self, group: &str) -> Vec<Read> {
        let mut reads = Vec::new();
        for kind in [SpaceKind::Lane, SpaceKind::LaneProgress] {
            if self.follows() {
                let places = self.place + 1..=self.last_place();
                reads.extend(places.map(|place| Read::Row(lane(kind, group, self.segment, place))));
                continue;
            }
            let limit = if kind == SpaceKind::Lane { self.most as usize } else { usize::MAX };
            let (space, after) = (of_segment(kind, group, self.segment), Some(number_key(self.place)));
            reads.push(Read::Range { space, after, before: None, reverse: false, limit });
        }
        reads
    }

    /// Returns the rows that the reads of one kind found.
    fn found(&self, found: &mut Snapshot) -> Rows {
        match self.follows() {
            false => found.range(),
            true => (self.place + 1..=self.last_place())
                .filter_map(|place| Some((number_key(place), found.row()?)))
                .collect(),
        }
    }

    /// Moves the place behind the batches that were read. A range read that found fewer batches than requested has
    /// reached the end of the lane.
    fn pass(&mut self, batches: &[LaneBatch]) {
        self.place = match batches.last() {
            _ if self.follows() => self.last_place(),
            Some(last) if batches.len() as u64 >= self.most => last.seq,
            _ => self.end,
        };
    }
}

/// Returns how many batches of each lane to fetch first, so that few batches are fetched and not used. It divides the
/// lane's share of the limit by the average number of references of a batch.
fn likely(limit: usize, lanes: usize, references: u64, batches: u64) -> u64 {
    let share = (limit / lanes.max(1)) as u64;
    share.div_ceil((references / batches.max(1)).max(1)).clamp(1, MOST_FETCHED)
}

impl Store {
    pub(super) async fn lane_in(
        &self,
        partition: Partition<'_>,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, StorageFailure> {
        // Consumers call this many times a second, and the lanes are mostly empty. So the ends and sizes are read
        // first.
        let kinds = [SpaceKind::LaneEnd, SpaceKind::LaneSize];
        let mut found = partition.all_of(kinds.map(|kind| of(kind, group))).await?;
        let mut numbers = || read_rows(found.range(), segment_in, |value| number(Some(value)));
        let (ends, sizes): (HashMap<u16, u64>, HashMap<u16, u64>) = (numbers()?, numbers()?);
        let number_of = |numbers: &HashMap<u16, u64>, segment| numbers.get(&segment).copied().unwrap_or(0);
        let mut waiting = after.to_vec();
        waiting.retain(|(segment, place)| {
            number_of(&ends, *segment) > *place && number_of(&sizes, *segment) > 0
        });
        let behind = |(segment, place): &(u16, u64)| {
            let (end, size) = (number_of(&ends, *segment), number_of(&sizes, *segment));
            let most = likely(limit, waiting.len(), size, end - *place);
            Behind { segment: *segment, place: *place, end, most }
        };
        let asked: Vec<Behind> = waiting.iter().map(behind).collect();
        match asked.is_empty() {
            true => Ok(Vec::new()),
            false => Ok(choose(self.fetch_page(partition, group, asked, limit).await?, limit)),
        }
    }

    /// Fetches batches of each segment, as many as a page may need.
    async fn fetch_page(
        &self,
        partition: Partition<'_>,
        group: &str,
        mut asked: Vec<Behind>,
        limit: usize,
    ) -> Result<Vec<Vec<LaneBatch>>, StorageFailure> {
        let mut lanes = self.fetch(partition, group, &mut asked).await?;
        let references: usize = lanes.iter().flatten().map(|batch| batch.positions.len()).sum();
        let is_empty = |(lane, behind): (&Vec<LaneBatch>, &Behind)| lane.is_empty() && !behind.is_over();
        if references >= limit && !lanes.iter().zip(&asked).any(is_empty) {
            return Ok(lanes);
        }
        // The batches were shorter than estimated, or had left the lane.
        let (places, mut rest): (Vec<usize>, Vec<Behind>) =
            asked.into_iter().enumerate().filter(|(_, behind)| !behind.is_over()).unzip();
        if rest.is_empty() {
            return Ok(lanes);
        }
        rest.iter_mut().for_each(|behind| behind.most = MOST_FETCHED);
        for (place, more) in places.into_iter().zip(self.fetch(partition, group, &mut rest).await?) {
            if let Some(lane) = lanes.get_mut(place) {
                lane.extend(more);
            }
        }
        Ok(lanes)
    }

    /// Fetches batches after the given places, for one segment after the other.
    async fn fetch(
        &self,
        partition: Partition<'_>,
        group: &str,
        asked: &mut [Behind],
    ) -> Result<Vec<Vec<LaneBatch>>, StorageFailure> {
        let reads: Vec<Read> = asked.iter().flat_map(|behind| behind.reads(group)).collect();
        let mut found = partition.get(&reads).await?;
        let mut lanes = Vec::with_capacity(asked.len());
        for behind in asked {
            let (rows, noted) = (behind.found(&mut found), behind.found(&mut found));
            let mut batches = Vec::with_capacity(rows.len());
            for (key, value) in rows {
                let place = number_in(&key)?;
                let row = LaneRow::read(place, &value)?;
                let known = KnownBatch { generation: found.generation, row: Arc::new(row.clone()) };
                self.remembered().note_batch(group, behind.segment, place, known);
                let progress = progress_at(&noted, &key)?.unwrap_or_default();
                batches.push(row.batch(behind.segment, place, progress));
            }
            behind.pass(&batches);
            lanes.push(batches);
        }
        Ok(lanes)
    }
}

/// Chooses the first batch of each segment, then further batches while they fit in the limit, segment by segment.
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

impl Partition<'_> {
    /// Removes the batches of a replay from all lanes, unless a consumer has received a part of them. Returns the
    /// number of removed references.
    pub(super) async fn withdraw(self, replay_id: &str) -> Result<u64, StorageFailure> {
        let mut went = 0;
        for group in self.groups().await? {
            let name = group.name();
            for (key, size) in self.all(of(SpaceKind::LaneSize, name)).await? {
                if number(Some(&size))? > 0 {
                    went += self.withdraw_from(name, segment_in(&key)?, replay_id).await?;
                }
            }
        }
        Ok(went)
    }

    async fn withdraw_from(self, group: &str, segment: u16, replay_id: &str) -> Result<u64, StorageFailure> {
        let kinds = [SpaceKind::Lane, SpaceKind::LaneProgress];
        let mut found = self.all_of(kinds.map(|kind| of_segment(kind, group, segment))).await?;
        let (batches, noted) = (found.range(), found.range());
        let (mut transactions, mut lengths) = (Vec::new(), Vec::new());
        for (key, value) in batches {
            let place = number_in(&key)?;
            let row = LaneRow::read(place, &value)?;
            let is_its = replay_of(&row.origin).is_some_and(|(id, _)| id == replay_id);
            if !is_its || !is_untouched(progress_at(&noted, &key)?.as_ref()) {
                continue;
            }
            let [batch, progress] = kinds.map(|kind| lane(kind, group, segment, place));
            let mut transaction = Transaction::new().even_when_full();
            transaction.guard(Guard::Present(batch.clone()));
            transaction.guard(Guard::still(progress.clone(), value_at(&noted, &key)));
            transaction.delete(batch).delete(progress);
            transaction.add(by_segment(SpaceKind::LaneSize, group, segment), -row.references());
            transactions.push(transaction);
            lengths.push(row.positions.len() as u64);
        }
        if transactions.is_empty() {
            return Ok(0);
        }
        // A batch that a consumer received meanwhile stays.
        let outcomes = self.commit(&transactions).await?;
        let gone = outcomes.iter().zip(lengths).filter(|(outcome, _)| outcome.is_done());
        Ok(gone.map(|(_, references)| references).sum())
    }
}

/// Returns whether no consumer has received any part of the batch.
fn is_untouched(progress: Option<&LaneProgress>) -> bool {
    progress.is_none_or(|progress| progress.claimed_to == 0 && progress.done.is_empty())
}
