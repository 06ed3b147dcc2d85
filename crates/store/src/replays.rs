//! Replays: their records, in partition 0, and what their batches leave behind, in the partitions of the lanes.
//!
//! The right to run a replay is given in partition 0 and copied into every other partition as a fence before its holder does
//! anything there: a runner that had the right before is refused by the fence. The fence carries the partition's generation, so a
//! partition that has lost something refuses as well, until the right is given again.

use std::{cmp::Ordering, collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use domain::{
    Cursor, Position, StorageFailure,
    group::LaneResult,
    ports::{
        ReplayLease, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate, ReplayWish,
        engine::{Guard, Read, RowId, Snapshot, Space, SpaceKind, Transaction, Write},
    },
    replay::{after_request, after_step},
    time::later,
};
use futures_util::future::try_join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Store,
    holds::bump_hold_versions,
    partition::Partition,
    retry::OptimisticRetry,
    rows::{HOLDS, by_time, counter, from_json, named, number, number_key, of, text, time_and_id, to_json},
};

/// What changes of a replay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ReplayRow {
    state: ReplayState,
    created: Timestamp,
    updated: Timestamp,
    progress: String,
    hold: Option<Cursor>,
    /// The number of the newest lease, in its generation.
    last_lease: u64,
    /// Until when the newest lease is good; none where there is none.
    until: Option<Timestamp>,
}

impl ReplayRow {
    fn read(id: &str, value: &[u8]) -> Result<Self, StorageFailure> {
        from_json(value, || format!("the replay {id}"))
    }

    fn record(self, id: String, plan: String) -> ReplayRecord {
        ReplayRecord {
            id,
            state: self.state,
            created_at: self.created,
            updated_at: self.updated,
            plan,
            progress: self.progress,
            hold: self.hold,
        }
    }

    fn is_run(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

fn replay_row(id: &str) -> RowId {
    named(SpaceKind::Replay, id)
}

fn fence_row(id: &str) -> RowId {
    named(SpaceKind::ReplayFence, id)
}

/// A lease as its fence has it in a partition of this generation.
pub(crate) fn fence_value(lease: &ReplayLease, generation: u64) -> Vec<u8> {
    format!("{}:{}:{generation}", lease.epoch, lease.token).into_bytes()
}

/// What stands in the fence of a replay that is over.
const OVER: &[u8] = b"over";

/// Guards a transaction by a runner's lease: two guards, before any other.
pub(crate) fn fence_guards(transaction: &mut Transaction, lease: &ReplayLease, generation: u64) {
    transaction.guard(Guard::Generation(generation));
    transaction.guard(Guard::Is(fence_row(&lease.replay_id), fence_value(lease, generation)));
}

/// Epoch, token and generation of a fence; none where it is of a replay that is over.
fn read_fence(value: &[u8]) -> Option<(u64, u64, u64)> {
    let mut numbers = std::str::from_utf8(value).ok()?.split(':').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// A replay as it was read, to decide on.
struct Seen {
    id: String,
    row: ReplayRow,
    value: Vec<u8>,
    fence: Option<Vec<u8>>,
    generation: u64,
    now: Timestamp,
}

impl Seen {
    /// Epoch and token of the newest lease, where it was given in the present generation.
    fn lease(&self) -> Option<(u64, u64)> {
        let (epoch, token, generation) = read_fence(self.fence.as_deref()?)?;
        (generation == self.generation).then_some((epoch, token))
    }

    /// A transaction that is performed only while all that was decided on is still so.
    fn transaction(&self) -> Transaction {
        let mut transaction = Transaction::durable();
        transaction.guard(Guard::Generation(self.generation));
        transaction.guard(Guard::Is(replay_row(&self.id), self.value.clone()));
        transaction.guard(Guard::still(fence_row(&self.id), self.fence.as_deref()));
        transaction
    }

    /// Puts the replay in a state. One that is over has no runner.
    fn put(&self, transaction: &mut Transaction, mut row: ReplayRow) -> Result<(), StorageFailure> {
        if row.state.is_final() {
            row.until = None;
            transaction.put(fence_row(&self.id), OVER);
            transaction.delete(by_time(SpaceKind::OpenReplay, row.created, &self.id));
        }
        transaction.put(replay_row(&self.id), to_json(&row)?);
        Ok(())
    }
}

/// Whether a hold keeps something that the one before it did not.
fn keeps_more(before: Option<&Cursor>, after: &Cursor) -> bool {
    before.is_none_or(|before| {
        (before.store, before.epoch) != (after.store, after.epoch)
            || before.sequences.len() != after.sequences.len()
            || before.sequences.iter().zip(&after.sequences).any(|(before, after)| after < before)
    })
}

/// The number that was noted last, and the rows of batches below a number: their results, and that segments have had them.
fn settled_reads(id: &str, below: u64) -> [Read; 3] {
    let rows = |kind| Read::Range {
        space: of(kind, id),
        after: None,
        before: Some(number_key(below)),
        reverse: false,
        limit: usize::MAX,
    };
    let noted = Read::Row(named(SpaceKind::ReplaySettled, id));
    [noted, rows(SpaceKind::ReplayResult), rows(SpaceKind::ReplayBatch)]
}

/// Drops what [`settled_reads`] found, and notes the number, which never falls. That a segment has had a batch stays known while
/// the batch has left no result: it may still be in a lane.
fn settle(
    transaction: &mut Transaction,
    id: &str,
    below: u64,
    found: &mut Snapshot,
) -> Result<(), StorageFailure> {
    let (noted, results, batches) = (found.row(), found.range(), found.range());
    for (key, _) in batches {
        // The key of a batch goes on where that of its result ends.
        if results.iter().any(|(result, _)| key.starts_with(result)) {
            transaction.delete(of(SpaceKind::ReplayBatch, id).row(key));
        }
    }
    for (key, _) in results {
        transaction.delete(of(SpaceKind::ReplayResult, id).row(key));
    }
    if number(noted.as_deref())? < below {
        let row = named(SpaceKind::ReplaySettled, id);
        transaction.guard(Guard::still(row.clone(), noted.as_deref()));
        transaction.put(row, below.to_string());
    }
    Ok(())
}

impl Partition<'_> {
    async fn see_replay(self, id: &str) -> Result<Option<Seen>, StorageFailure> {
        let mut found = self.get(&[Read::Row(replay_row(id)), Read::Row(fence_row(id))]).await?;
        let (value, fence) = (found.row(), found.row());
        let Some(value) = value else { return Ok(None) };
        let row = ReplayRow::read(id, &value)?;
        let (generation, now) = (found.generation, found.now);
        Ok(Some(Seen { id: id.to_owned(), row, value, fence, generation, now }))
    }

    /// Decides on what a replay is, and writes what was decided if it is still so; else decides again. None where there is no
    /// such replay. A decision is an answer, and a transaction where something is to change.
    async fn decide<T>(
        self,
        id: &str,
        mut decision: impl FnMut(&Seen) -> Result<(T, Option<Transaction>), StorageFailure>,
    ) -> Result<Option<T>, StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let Some(seen) = self.see_replay(id).await? else { return Ok(None) };
            let (answer, transaction) = decision(&seen)?;
            let Some(transaction) = transaction else { return Ok(Some(answer)) };
            if self.is_committed(&transaction).await? {
                return Ok(Some(answer));
            }
            retry.again().await?;
        }
    }

    /// Takes or renews the right to run a replay; with it whether it is a new one. Where a new one is demanded it is new, also
    /// where the token has one.
    async fn take_replay(
        self,
        id: &str,
        token: u64,
        duration: Duration,
        demand_new: bool,
    ) -> Result<Option<(ReplayLease, bool)>, StorageFailure> {
        let decision = |seen: &Seen| {
            let held = seen.lease().filter(|(_, holder)| *holder == token && !demand_new);
            let is_others = seen.lease().is_some_and(|(_, holder)| holder != token);
            if seen.row.state.is_final() || (is_others && seen.row.is_run(seen.now)) {
                return Ok((None, None));
            }
            let mut row = seen.row.clone();
            row.until = Some(later(seen.now, duration));
            let mut transaction = seen.transaction();
            let epoch = match held {
                Some((epoch, _)) => epoch,
                None => {
                    row.last_lease += 1;
                    (seen.generation << 32) | (row.last_lease & 0xffff_ffff)
                }
            };
            let lease = ReplayLease { replay_id: id.to_owned(), epoch, token };
            if held.is_none() {
                transaction.put(fence_row(id), fence_value(&lease, seen.generation));
            }
            seen.put(&mut transaction, row)?;
            Ok((Some((lease, held.is_none())), Some(transaction)))
        };
        Ok(self.decide(id, decision).await?.flatten())
    }

    /// Copies a lease into this partition; whether it is there: not where a newer one is.
    async fn copy_lease(self, lease: &ReplayLease) -> Result<bool, StorageFailure> {
        let row = fence_row(&lease.replay_id);
        let mut retry = OptimisticRetry::new();
        loop {
            let mut found = self.get(&[Read::Row(row.clone())]).await?;
            let before = found.row();
            let (value, known) = (fence_value(lease, found.generation), before.as_deref().map(read_fence));
            match known {
                _ if before.as_ref() == Some(&value) => return Ok(true),
                // The replay is over.
                Some(None) => return Ok(false),
                Some(Some((epoch, ..))) if epoch > lease.epoch => return Ok(false),
                _ => {}
            }
            let mut transaction = Transaction::durable();
            transaction.guard(Guard::Generation(found.generation));
            transaction.guard(Guard::still(row.clone(), before.as_deref())).put(row.clone(), value);
            if self.is_committed(&transaction).await? {
                return Ok(true);
            }
            retry.again().await?;
        }
    }

    /// Whether this partition has a lease, and has lost nothing since it was copied.
    async fn has_lease(self, lease: &ReplayLease) -> Result<bool, StorageFailure> {
        let mut found = self.get(&[Read::Row(fence_row(&lease.replay_id))]).await?;
        let value = found.row();
        Ok(value.as_deref() == Some(&fence_value(lease, found.generation)[..]))
    }

    /// Closes a replay that is over: it has no runner here.
    async fn close_replay(self, id: &str) -> Result<(), StorageFailure> {
        let mut transaction = Transaction::durable();
        transaction.put(fence_row(id), OVER);
        self.commit_one(&transaction).await.map(drop)
    }

    /// Drops what is left of batches below a number.
    async fn drop_settled(self, id: &str, below: u64) -> Result<(), StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let mut transaction = Transaction::new();
            settle(&mut transaction, id, below, &mut self.get(&settled_reads(id, below)).await?)?;
            if self.is_committed(&transaction).await? {
                return Ok(());
            }
            retry.again().await?;
        }
    }

    /// Removes whatever this partition has of a replay.
    fn forgetting(id: &str, transaction: &mut Transaction) {
        for kind in
            [SpaceKind::Replay, SpaceKind::ReplayPlan, SpaceKind::ReplayFence, SpaceKind::ReplaySettled]
        {
            transaction.delete(named(kind, id));
        }
        for kind in [SpaceKind::ReplayResult, SpaceKind::ReplayBatch] {
            transaction.clear(of(kind, id));
        }
    }

    async fn forget_replay(self, id: &str) -> Result<(), StorageFailure> {
        let mut transaction = Transaction::durable();
        Self::forgetting(id, &mut transaction);
        self.commit_one(&transaction).await.map(drop)
    }

    async fn results_here(self, id: &str, limit: usize) -> Result<Vec<LaneResult>, StorageFailure> {
        let rows = self.get(&[Read::first(of(SpaceKind::ReplayResult, id), limit)]).await?.range();
        let read =
            |(_, value): &(Vec<u8>, Vec<u8>)| from_json(value, || format!("a result of the replay {id}"));
        rows.iter().map(read).collect()
    }

    /// Records of these ids, in their order. What is gone is left out.
    async fn replay_records(self, ids: &[String]) -> Result<Vec<(ReplayRecord, ReplayRow)>, StorageFailure> {
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

    /// The ids in an index of replays.
    async fn replay_ids(
        self,
        kind: SpaceKind,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<String>, StorageFailure> {
        let space = Space::of(kind);
        let read = Read::Range { space, after: None, before: None, reverse, limit };
        let rows = self.get(&[read]).await?.range();
        rows.iter().map(|(key, _)| Ok(time_and_id(key)?.1)).collect()
    }
}

impl Store {
    /// The replays that are not over, the oldest first.
    pub(crate) async fn open_replays(&self) -> Result<Vec<ReplayRecord>, StorageFailure> {
        let ids = self.first().replay_ids(SpaceKind::OpenReplay, false, usize::MAX).await?;
        let records = self.first().replay_records(&ids).await?;
        let open = records.into_iter().map(|(record, _)| record).filter(|record| !record.state.is_final());
        Ok(open.collect())
    }

    async fn lease_everywhere(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, StorageFailure> {
        let taken = self.first().take_replay(id, token, duration, false).await?;
        let Some((mut lease, is_new)) = taken else { return Ok(None) };
        if self.is_single() {
            return Ok(Some(lease));
        }
        if !is_new {
            let copies = try_join_all(self.others().map(|partition| partition.has_lease(&lease))).await?;
            if copies.iter().all(|has| *has) {
                return Ok(Some(lease));
            }
            // A partition has lost the lease, and with it perhaps what was queued under it: so the lease is over.
            match self.first().take_replay(id, token, duration, true).await? {
                Some((again, _)) => lease = again,
                None => return Ok(None),
            }
        }
        let copies = try_join_all(self.others().map(|partition| partition.copy_lease(&lease))).await?;
        let settled = self.first().get(&[Read::Row(named(SpaceKind::ReplaySettled, id))]).await?.row();
        let settled = number(settled.as_deref())?;
        if settled > 0 {
            try_join_all(self.others().map(|partition| partition.drop_settled(id, settled))).await?;
        }
        // Another has taken the replay over while this was copied.
        Ok(copies.iter().all(|copied| *copied).then_some(lease))
    }

    /// Notes how far a replay is; its state afterwards, and whether it holds something that it did not before.
    async fn step_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<(ReplayState, bool), ReplayStoreError> {
        let (id, below) = (&lease.replay_id, update.settled_batches);
        let mut retry = OptimisticRetry::new();
        loop {
            let first = self.first();
            let seen = first.see_replay(id).await?.ok_or(ReplayStoreError::Fenced)?;
            if seen.lease() != Some((lease.epoch, lease.token)) || seen.row.until.is_none() {
                return Err(ReplayStoreError::Fenced);
            }
            let mut transaction = seen.transaction();
            let mut row = seen.row.clone();
            row.state = after_step(row.state, update.state);
            row.updated = seen.now;
            row.progress.clone_from(&update.progress);
            row.hold.clone_from(&update.hold);
            let holds_more =
                update.hold.as_ref().is_some_and(|hold| keeps_more(seen.row.hold.as_ref(), hold));
            if holds_more {
                transaction.add(counter(HOLDS), 1);
            }
            let state = row.state;
            seen.put(&mut transaction, row)?;
            if below > 0 {
                settle(&mut transaction, id, below, &mut first.get(&settled_reads(id, below)).await?)?;
            }
            if first.is_committed(&transaction).await? {
                return Ok((state, holds_more));
            }
            retry.again().await?;
        }
    }

    /// A replay that is over has no runner in any partition.
    async fn close_if_over(&self, id: &str, state: ReplayState) -> Result<(), StorageFailure> {
        if state.is_final() {
            try_join_all(self.others().map(|partition| partition.close_replay(id))).await?;
        }
        Ok(())
    }
}

fn by_batch(one: &LaneResult, other: &LaneResult) -> Ordering {
    (one.batch, &one.group, one.segment).cmp(&(other.batch, &other.group, other.segment))
}

#[async_trait]
impl ReplayStore for Store {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        let mut parts: Vec<BTreeSet<u64>> = vec![BTreeSet::new(); usize::from(self.partition_count())];
        for position in positions {
            if let Some(part) = parts.get_mut(usize::from(position.partition)) {
                part.insert(position.sequence);
            }
        }
        let asked = self.partitions().zip(parts).filter(|(_, sequences)| !sequences.is_empty());
        let asked = asked.map(|(partition, sequences)| async move {
            let mut transaction = Transaction::new();
            transaction.write(Write::CountReplay { sequences: sequences.into_iter().collect(), at });
            partition.commit_one(&transaction).await
        });
        try_join_all(asked).await?;
        Ok(())
    }

    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError> {
        let row = ReplayRow {
            state: record.state,
            created: record.created_at,
            updated: record.updated_at,
            progress: record.progress.clone(),
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
        if !self.first().is_committed(&transaction).await? {
            return Err(ReplayStoreError::Exists(id.clone()));
        }
        if record.hold.is_some() {
            bump_hold_versions(self.others()).await?;
        }
        Ok(())
    }

    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError> {
        let found = self.first().replay_records(&[id.to_owned()]).await?.pop();
        Ok(found.map(|(record, _)| record))
    }

    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let ids = self.first().replay_ids(SpaceKind::ReplayOrder, true, limit).await?;
        Ok(self.first().replay_records(&ids).await?.into_iter().map(|(record, _)| record).collect())
    }

    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let ids = self.first().replay_ids(SpaceKind::OpenReplay, false, usize::MAX).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.first().replay_records(&ids).await?;
        let now = self.first().get(&[]).await?.now;
        let waits = |(record, row): &(ReplayRecord, ReplayRow)| !record.state.is_final() && !row.is_run(now);
        Ok(records.into_iter().filter(waits).map(|(record, _)| record).collect())
    }

    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        Ok(self.lease_everywhere(id, token, duration).await?)
    }

    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError> {
        let (state, holds_more) = self.step_replay(lease, update).await?;
        if holds_more {
            bump_hold_versions(self.others()).await?;
        }
        let (id, below) = (&lease.replay_id, update.settled_batches);
        if below > 0 {
            // Whoever settled them has their results. What is left where this is cut short goes with the next step, or lease.
            try_join_all(self.others().map(|partition| partition.drop_settled(id, below))).await?;
        }
        self.close_if_over(id, state).await?;
        Ok(state)
    }

    async fn wish(&self, id: &str, wish: ReplayWish) -> Result<Option<ReplayState>, ReplayStoreError> {
        let decision = |seen: &Seen| {
            let is_run = seen.row.is_run(seen.now) && seen.lease().is_some();
            let state = after_request(seen.row.state, wish, is_run);
            if state == seen.row.state {
                return Ok((state, None));
            }
            let mut transaction = seen.transaction();
            seen.put(&mut transaction, ReplayRow { state, updated: seen.now, ..seen.row.clone() })?;
            Ok((state, Some(transaction)))
        };
        let state = self.first().decide(id, decision).await?;
        if let Some(state) = state {
            self.close_if_over(id, state).await?;
        }
        Ok(state)
    }

    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError> {
        let parts = self.partitions().map(|partition| partition.results_here(id, limit));
        let mut results: Vec<LaneResult> = try_join_all(parts).await?.into_iter().flatten().collect();
        results.sort_by(by_batch);
        results.truncate(limit);
        Ok(results)
    }

    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError> {
        let Some(seen) = self.first().see_replay(id).await?.filter(|seen| seen.row.state.is_final()) else {
            return Ok(false);
        };
        try_join_all(self.others().map(|partition| partition.forget_replay(id))).await?;
        let mut transaction = seen.transaction();
        Partition::forgetting(id, &mut transaction);
        for kind in [SpaceKind::ReplayOrder, SpaceKind::OpenReplay] {
            transaction.delete(by_time(kind, seen.row.created, id));
        }
        // A replay that is over does not change: where this is refused, another has deleted it.
        Ok(self.first().is_committed(&transaction).await?)
    }
}

impl Partition<'_> {
    /// Adds what is wrong with the rows of replays.
    pub(crate) async fn check_replays(
        self,
        findings: &mut crate::verify::Findings,
    ) -> Result<(), StorageFailure> {
        let kinds = [SpaceKind::Replay, SpaceKind::ReplayPlan, SpaceKind::ReplayOrder, SpaceKind::OpenReplay];
        let mut found = self.get(&kinds.map(|kind| Read::all(Space::of(kind)))).await?;
        let (rows, plans) = (found.range(), found.range());
        let [listed, open] = [found.range(), found.range()]
            .map(|rows| rows.into_iter().map(|(key, _)| key).collect::<BTreeSet<Vec<u8>>>());
        for (key, value) in rows {
            let Some(id) = findings.readable(crate::rows::text_in(&key))? else { continue };
            let Some(row) = findings.readable(ReplayRow::read(&id, &value))? else { continue };
            if !plans.iter().any(|(name, _)| *name == key) {
                findings.add(format!("the replay {id} has no plan"));
            }
            let place = by_time(SpaceKind::ReplayOrder, row.created, &id).key;
            if !listed.contains(&place) {
                findings.add(format!("the replay {id} is not on the list of all"));
            }
            if open.contains(&place) == row.state.is_final() {
                findings.add(format!("the list of replays that are not over is wrong about {id}"));
            }
        }
        Ok(())
    }
}
