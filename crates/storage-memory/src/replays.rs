//! Replays: how often each event was replayed, the record of each replay, and what its batches left behind.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Position,
    group::LaneResult,
    ports::{
        ReplayLease, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate, ReplayWish,
    },
};
use jiff::Timestamp;

use crate::{
    MemoryStore,
    state::{self, State, later},
};

/// Every replay.
#[derive(Debug, Default)]
pub(crate) struct Replays {
    by_id: BTreeMap<String, Replay>,
    batches: HashMap<String, Batches>,
}

#[derive(Debug)]
struct Replay {
    record: ReplayRecord,
    last_epoch: u64,
    /// The newest lease; none once the replay is over.
    lease: Option<RunnerLease>,
}

#[derive(Debug)]
struct RunnerLease {
    epoch: u64,
    token: u64,
    until: Timestamp,
}

/// What is known of a replay's batches.
#[derive(Debug, Default)]
struct Batches {
    /// By group and segment, those that the lane has had.
    queued: HashMap<(String, u16), BTreeSet<u64>>,
    /// By batch, group and segment.
    results: BTreeMap<(u64, String, u16), LaneResult>,
}

impl Replay {
    fn is_run(&self, now: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|lease| now < lease.until)
    }

    fn lease(&mut self, token: u64, now: Timestamp, duration: Duration) -> Option<ReplayLease> {
        let until = later(now, duration);
        let epoch = match &mut self.lease {
            _ if self.record.state.is_final() => return None,
            Some(lease) if lease.token == token => {
                lease.until = until;
                lease.epoch
            }
            Some(lease) if now < lease.until => return None,
            _ => {
                self.last_epoch += 1;
                self.lease = Some(RunnerLease { epoch: self.last_epoch, token, until });
                self.last_epoch
            }
        };
        Some(ReplayLease { replay_id: self.record.id.clone(), epoch, token })
    }

    /// A wish that came meanwhile stays, unless the runner has come to an end or does as it was wished.
    fn turn_to(&mut self, wanted: ReplayState, now: Timestamp) {
        let wished = matches!(self.record.state, ReplayState::Paused | ReplayState::Cancelling);
        if wanted.is_final() || !wished {
            self.record.state = wanted;
        }
        if wanted.is_final() {
            self.lease = None;
        }
        self.record.updated_at = now;
    }

    fn wish(&mut self, wish: ReplayWish, now: Timestamp) {
        let wanted = match (wish, self.record.state) {
            (_, state) if state.is_final() => return,
            (ReplayWish::Cancel, _) if !self.is_run(now) => {
                // Whoever ran it and comes back finds its lease ended.
                self.lease = None;
                ReplayState::Cancelled
            }
            (ReplayWish::Cancel, _) => ReplayState::Cancelling,
            // What is to end does not rest.
            (ReplayWish::Pause, ReplayState::Cancelling) => return,
            (ReplayWish::Pause, _) => ReplayState::Paused,
            (ReplayWish::Resume, ReplayState::Paused) => ReplayState::Planned,
            (ReplayWish::Resume, _) => return,
        };
        if self.record.state != wanted {
            self.record.state = wanted;
            self.record.updated_at = now;
        }
    }
}

impl Replays {
    /// Whether a lease is the newest of its replay.
    pub(crate) fn is_newest(&self, lease: &ReplayLease) -> bool {
        let own = self.by_id.get(&lease.replay_id).and_then(|replay| replay.lease.as_ref());
        own.is_some_and(|own| (own.epoch, own.token) == (lease.epoch, lease.token))
    }

    /// Every record, the oldest first.
    pub(crate) fn oldest_first(&self) -> Vec<&ReplayRecord> {
        let mut records: Vec<_> = self.by_id.values().map(|replay| &replay.record).collect();
        records.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        records
    }

    /// Whether a segment has had a batch of a replay.
    pub(crate) fn had(&self, replay_id: &str, group: &str, segment: u16, batch: u64) -> bool {
        let queued = self.batches.get(replay_id).and_then(|of| of.queued.get(&(group.to_owned(), segment)));
        queued.is_some_and(|queued| queued.contains(&batch))
    }

    pub(crate) fn note_queued(&mut self, replay_id: &str, group: &str, segment: u16, batch: u64) {
        let batches = self.batches.entry(replay_id.to_owned()).or_default();
        batches.queued.entry((group.to_owned(), segment)).or_default().insert(batch);
    }

    /// A group that is made again under the name begins anew.
    pub(crate) fn forget_group(&mut self, group: &str) {
        for batches in self.batches.values_mut() {
            batches.queued.retain(|(name, _), _| name != group);
        }
    }

    /// Keeps what became of a batch, unless its replay was deleted meanwhile.
    pub(crate) fn keep_result(&mut self, replay_id: &str, result: LaneResult) {
        if let Some(batches) = self.batches.get_mut(replay_id) {
            batches.results.insert((result.batch, result.group.clone(), result.segment), result);
        }
    }

    fn update(
        &mut self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
        now: Timestamp,
    ) -> Result<ReplayState, ReplayStoreError> {
        if !self.is_newest(lease) {
            return Err(ReplayStoreError::Fenced);
        }
        let replay = self.by_id.get_mut(&lease.replay_id).ok_or(ReplayStoreError::Fenced)?;
        replay.turn_to(update.state, now);
        replay.record.progress.clone_from(&update.progress);
        replay.record.hold.clone_from(&update.hold);
        if let Some(batches) = self.batches.get_mut(&lease.replay_id) {
            batches.results = batches.results.split_off(&(update.settled_batches, String::new(), 0));
        }
        Ok(replay.record.state)
    }

    fn delete(&mut self, id: &str) -> bool {
        let is_over = self.by_id.get(id).is_some_and(|replay| replay.record.state.is_final());
        if is_over {
            self.by_id.remove(id);
            self.batches.remove(id);
        }
        is_over
    }
}

fn record_replayed(state: &mut State, positions: &[Position], at: Timestamp) {
    let sequences: BTreeSet<u64> = positions.iter().copied().filter_map(state::sequence).collect();
    for sequence in sequences {
        if let Some(entry) = state.log.get_mut(&sequence) {
            entry.replay_count = entry.replay_count.saturating_add(1);
            entry.last_replay_at = Some(at);
        }
    }
}

#[async_trait]
impl ReplayStore for MemoryStore {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        record_replayed(&mut self.state_mut(), positions, at);
        Ok(())
    }

    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError> {
        let mut state = self.state_mut();
        if state.replays.by_id.contains_key(&record.id) {
            return Err(ReplayStoreError::Exists(record.id.clone()));
        }
        let replay = Replay { record: record.clone(), last_epoch: 0, lease: None };
        state.replays.by_id.insert(record.id.clone(), replay);
        Ok(())
    }

    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError> {
        Ok(self.state().replays.by_id.get(id).map(|replay| replay.record.clone()))
    }

    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let state = self.state();
        Ok(state.replays.oldest_first().into_iter().rev().take(limit).cloned().collect())
    }

    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let state = self.state();
        let now = self.now();
        let waits = |record: &&ReplayRecord| {
            let is_run = state.replays.by_id.get(&record.id).is_some_and(|replay| replay.is_run(now));
            !record.state.is_final() && !is_run
        };
        Ok(state.replays.oldest_first().into_iter().filter(waits).cloned().collect())
    }

    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        let mut state = self.state_mut();
        let now = self.now();
        Ok(state.replays.by_id.get_mut(id).and_then(|replay| replay.lease(token, now, duration)))
    }

    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError> {
        self.state_mut().replays.update(lease, update, self.now())
    }

    async fn wish(&self, id: &str, wish: ReplayWish) -> Result<Option<ReplayState>, ReplayStoreError> {
        let mut state = self.state_mut();
        let now = self.now();
        let replay = state.replays.by_id.get_mut(id);
        Ok(replay.map(|replay| {
            replay.wish(wish, now);
            replay.record.state
        }))
    }

    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError> {
        let state = self.state();
        let results = state.replays.batches.get(id).map(|batches| batches.results.values());
        Ok(results.into_iter().flatten().take(limit).cloned().collect())
    }

    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError> {
        Ok(self.state_mut().replays.delete(id))
    }
}
