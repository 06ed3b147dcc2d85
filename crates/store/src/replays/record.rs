//! The rows of a replay in partition 0: its plan, its changing part, and its entries in the indexes.

use domain::{
    Cursor, StorageFailure,
    ports::{
        ReplayRecord, ReplayState,
        engine::{Guard, Read, RowId, Snapshot, Space, SpaceKind, Transaction},
    },
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lease::{OVER, fence_row, read_fence};
use crate::{
    Store,
    partition::Partition,
    rows::{HOLDS, by_time, counter, from_json, ids_in, named, of, text, to_json},
};

/// The changing part of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplayRow {
    pub(crate) state: ReplayState,
    pub(crate) created: Timestamp,
    pub(super) updated: Timestamp,
    pub(super) progress: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) steering: Option<String>,
    pub(super) hold: Option<Cursor>,
    /// The number of the newest lease, within its generation.
    pub(super) last_lease: u64,
    /// The expiry of the newest lease. None means that the replay has no lease.
    pub(super) until: Option<Timestamp>,
}

impl ReplayRow {
    pub(crate) fn read(id: &str, value: &[u8]) -> Result<Self, StorageFailure> {
        from_json(value, format_args!("the replay {id}"))
    }

    fn record(self, id: String, plan: String) -> ReplayRecord {
        ReplayRecord {
            id,
            state: self.state,
            created_at: self.created,
            updated_at: self.updated,
            plan,
            progress: self.progress,
            steering: self.steering,
            hold: self.hold,
        }
    }

    pub(super) fn is_run(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

pub(super) fn replay_row(id: &str) -> RowId {
    named(SpaceKind::Replay, id)
}

/// Returns the transaction that creates a replay. It is refused if the id exists.
pub(super) fn creating(record: &ReplayRecord) -> Result<Transaction, StorageFailure> {
    let row = ReplayRow {
        state: record.state,
        created: record.created_at,
        updated: record.updated_at,
        progress: record.progress.clone(),
        steering: record.steering.clone(),
        hold: record.hold.clone(),
        last_lease: 0,
        until: None,
    };
    let id = &record.id;
    let mut transaction = Transaction::durable();
    transaction.guard(Guard::Absent(replay_row(id))).put(replay_row(id), to_json(&row)?);
    transaction.put(named(SpaceKind::ReplayPlan, id), record.plan.as_bytes());
    transaction.list(by_time(SpaceKind::ReplayOrder, record.created_at, id));
    if !record.state.is_final() {
        transaction.list(by_time(SpaceKind::OpenReplay, record.created_at, id));
    }
    if record.hold.is_some() {
        transaction.add(counter(HOLDS), 1);
    }
    Ok(transaction)
}

/// Adds the removal of all rows of a replay in a partition, except its index entries.
pub(super) fn forget(id: &str, transaction: &mut Transaction) {
    for kind in [SpaceKind::Replay, SpaceKind::ReplayPlan, SpaceKind::ReplayFence, SpaceKind::ReplaySettled] {
        transaction.delete(named(kind, id));
    }
    for kind in [SpaceKind::ReplayResult, SpaceKind::ReplayBatch] {
        transaction.clear(of(kind, id));
    }
}

/// A replay as it was read, with the values that guards need.
pub(super) struct Seen {
    pub(super) id: String,
    pub(super) row: ReplayRow,
    value: Vec<u8>,
    fence: Option<Vec<u8>>,
    pub(super) generation: u64,
    pub(super) now: Timestamp,
}

impl Seen {
    pub(super) fn reads(id: &str) -> [Read; 2] {
        [Read::Row(replay_row(id)), Read::Row(fence_row(id))]
    }

    /// Decodes the answers to [`Seen::reads`]. Returns none if the replay does not exist.
    pub(super) fn of(id: &str, found: &mut Snapshot) -> Result<Option<Self>, StorageFailure> {
        let (value, fence) = (found.row(), found.row());
        let Some(value) = value else { return Ok(None) };
        let row = ReplayRow::read(id, &value)?;
        let (generation, now) = (found.generation, found.now);
        Ok(Some(Self { id: id.to_owned(), row, value, fence, generation, now }))
    }

    /// Returns the epoch and the token of the newest lease if it was granted in the current generation.
    pub(super) fn lease(&self) -> Option<(u64, u64)> {
        let (epoch, token, generation) = read_fence(self.fence.as_deref()?)?;
        (generation == self.generation).then_some((epoch, token))
    }

    /// Returns a transaction that is refused if any row of the decision has changed.
    pub(super) fn transaction(&self) -> Transaction {
        let mut transaction = Transaction::durable();
        transaction.guard(Guard::Generation(self.generation));
        transaction.guard(Guard::Is(replay_row(&self.id), self.value.clone()));
        transaction.guard(Guard::still(fence_row(&self.id), self.fence.as_deref()));
        transaction
    }

    /// Replaces the replay's row. A replay in a final state loses its runner.
    pub(super) fn put(
        &self,
        transaction: &mut Transaction,
        mut row: ReplayRow,
    ) -> Result<(), StorageFailure> {
        if row.state.is_final() {
            row.until = None;
            transaction.put(fence_row(&self.id), OVER);
            transaction.delete(by_time(SpaceKind::OpenReplay, row.created, &self.id));
        }
        transaction.put(replay_row(&self.id), to_json(&row)?);
        Ok(())
    }
}

impl Partition<'_> {
    /// Reads a replay, decides on it, and writes the decision. When the replay has changed meanwhile, it decides again.
    /// Returns none if the replay does not exist.
    pub(super) async fn decide_replay<T>(
        self,
        id: &str,
        mut decision: impl FnMut(&Seen) -> Result<(T, Option<Transaction>), StorageFailure>,
    ) -> Result<Option<T>, StorageFailure> {
        let decision = |mut found| {
            let Some(seen) = Seen::of(id, &mut found)? else { return Ok((None, None)) };
            let (answer, transaction) = decision(&seen)?;
            Ok((Some(answer), transaction))
        };
        self.decide(&Seen::reads(id), decision).await
    }

    /// Returns the records of these ids, in the order of the ids, each with its row. Deleted replays are left out.
    pub(super) async fn replay_records(
        self,
        ids: &[String],
    ) -> Result<Vec<(ReplayRecord, ReplayRow)>, StorageFailure> {
        let both = |id: &String| [Read::Row(replay_row(id)), Read::Row(named(SpaceKind::ReplayPlan, id))];
        let mut found = self.get(&ids.iter().flat_map(both).collect::<Vec<_>>()).await?;
        let mut records = Vec::with_capacity(ids.len());
        for id in ids {
            let (value, plan) = (found.row(), found.row());
            let (Some(value), Some(plan)) = (value, plan) else { continue };
            let row = ReplayRow::read(id, &value)?;
            records.push((row.clone().record(id.clone(), text(plan)?), row));
        }
        Ok(records)
    }

    /// Returns the newest replays by creation time, newest first.
    pub(crate) async fn newest_replays(self, limit: usize) -> Result<Vec<ReplayRecord>, StorageFailure> {
        let space = Space::of(SpaceKind::ReplayOrder);
        let rows = self
            .get(&[Read::Range { space, after: None, before: None, reverse: true, limit }])
            .await?
            .range();
        let records = self.replay_records(&ids_in(rows.iter().map(|(key, _)| key))?).await?;
        Ok(records.into_iter().map(|(record, _)| record).collect())
    }

    /// Returns the unfinished replays, oldest first, each with its row.
    pub(super) async fn unfinished_replays(self) -> Result<Vec<(ReplayRecord, ReplayRow)>, StorageFailure> {
        let rows = self.all(Space::of(SpaceKind::OpenReplay)).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut records = self.replay_records(&ids_in(rows.iter().map(|(key, _)| key))?).await?;
        records.retain(|(record, _)| !record.state.is_final());
        Ok(records)
    }
}

impl Store {
    /// Returns the unfinished replays, oldest first.
    pub(crate) async fn open_replays(&self) -> Result<Vec<ReplayRecord>, StorageFailure> {
        Ok(self.first().unfinished_replays().await?.into_iter().map(|(record, _)| record).collect())
    }
}
