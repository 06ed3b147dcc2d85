//! Replay counts, and the records of replays. Rows and keys are those of `replay_rows`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Cursor, Position, StorageFailure,
    group::LaneResult,
    ports::{
        ReplayLease, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate, ReplayWish,
    },
};
use jiff::Timestamp;
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    failure::shape,
    group_rows::queued_key,
    keys::{CHUNK, chunk_of},
    partition::Partition,
    replay_rows::{self as rows, Row, Runner, lease_text, record_key, results_key},
    state::{from_micros, micros, sequence},
    write::{Write, Written, text},
};

/// How often a decision is made again because somebody else was quicker.
const MOST_TRIES: u32 = 100;
/// Lease epochs of one log epoch. A lease of an earlier log epoch was given by a server that may have lost something since.
const EPOCHS: u64 = 1 << 32;
/// Sequences end before it: the server counts them by floating-point numbers.
const NO_SEQUENCE: u64 = 1 << 53;
/// Fields that one command names: the server unpacks them onto a stack.
const FIELDS_AT_ONCE: usize = 500;

/// The field of a record that says which batches are settled: results that are left of them are of no more use.
const SETTLED: &str = "settled";

/// What was read of a replay to decide on.
struct Seen {
    row: Row,
    /// The log epoch.
    epoch: u64,
    /// The fields of its results.
    results: Vec<String>,
    now: i64,
}

impl Seen {
    /// Whether a lease is the newest one, given in the present log epoch.
    fn is_newest(&self, lease: &ReplayLease) -> bool {
        self.row.runner.lease == Some((lease.epoch, lease.token)) && lease.epoch / EPOCHS == self.epoch
    }

    /// A write that goes through only while all that was decided on is still so.
    fn write(&self, store: &Partition) -> Write {
        let key = record_key(store.keys(), &self.row.id);
        let mut write = Write::new();
        let lease = self.row.runner.lease.map(|(epoch, token)| lease_text(epoch, token));
        let until = self.row.runner.lease.is_some().then(|| self.row.runner.until.to_string());
        write.fenced();
        write.if_is(&store.keys().meta(), "epoch", self.epoch.to_string());
        write.if_is(&key, "state", rows::state_name(self.row.state));
        write.if_still(&key, "lease", lease.as_ref().map(String::as_bytes));
        write.if_still(&key, "until", until.as_ref().map(String::as_bytes));
        write
    }

    /// Turns the replay into a state, as of now; one that is over has no runner and holds nothing.
    fn turn(&self, store: &Partition, write: &mut Write, state: ReplayState) {
        let (keys, id) = (store.keys(), &self.row.id);
        let key = record_key(keys, id);
        write.hset(&key, "state", rows::state_name(state));
        write.hset(&key, "updated", from_micros(self.now).to_string());
        if state.is_final() {
            write.hdel(&key, &["lease", "until"][..]);
            write.command("ZREM", &rows::open_key(keys), rows::index_name(self.row.created_at, id));
        }
    }
}

/// The state after a runner's step: what was wished meanwhile stays, until the runner answers it.
fn after_step(now: ReplayState, step: ReplayState) -> ReplayState {
    match (now, step) {
        (_, step) if step.is_final() => step,
        (ReplayState::Cancelling | ReplayState::Paused, _) => now,
        _ => step,
    }
}

/// The state after somebody's wish, of a replay that is not over.
fn after_wish(state: ReplayState, wish: ReplayWish, is_run: bool) -> ReplayState {
    match (wish, state) {
        (ReplayWish::Cancel, _) if is_run => ReplayState::Cancelling,
        // Whoever ran it and comes back finds its lease ended.
        (ReplayWish::Cancel, _) => ReplayState::Cancelled,
        // What is to end does not rest.
        (ReplayWish::Pause, ReplayState::Planned | ReplayState::Running) => ReplayState::Paused,
        (ReplayWish::Resume, ReplayState::Paused) => ReplayState::Planned,
        _ => state,
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

/// Adds to a write that it drops results of batches below a number.
fn drop_results(write: &mut Write, key: &str, fields: &[String], settled: u64) {
    let is_settled =
        |field: &&String| rows::result_of_field(field).is_some_and(|(batch, ..)| batch < settled);
    let settled: Vec<&String> = fields.iter().filter(is_settled).collect();
    for fields in settled.chunks(FIELDS_AT_ONCE) {
        write.hdel(key, fields);
    }
}

impl Partition {
    async fn see_replay(&self, id: &str, with_results: bool) -> Result<Option<Seen>, StorageFailure> {
        let (keys, own) = (self.keys(), self.own_clock());
        let mut pipeline = Pipeline::with_capacity(4);
        pipeline.cmd("HMGET").arg(record_key(keys, id)).arg(&rows::ROW[..]);
        pipeline.cmd("HGET").arg(keys.meta()).arg("epoch");
        pipeline.cmd("TIME");
        if with_results {
            pipeline.cmd("HKEYS").arg(results_key(keys, id));
        }
        let mut answers = self.link().read_all(&pipeline).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Value::Nil);
        let Some(row) = Row::read(next())? else { return Ok(None) };
        let epoch = text(&next()).and_then(|text| text.parse().ok()).ok_or_else(|| shape("the log epoch"))?;
        let (seconds, rest): (i64, i64) =
            FromRedisValue::from_redis_value(next()).map_err(|_| shape("the time"))?;
        let results = match next() {
            Value::Nil => Vec::new(),
            answer => FromRedisValue::from_redis_value(answer).map_err(|_| shape("results"))?,
        };
        let now = own.unwrap_or(seconds * 1_000_000 + rest);
        Ok(Some(Seen { row, epoch, results, now }))
    }

    /// Decides on what a replay is, and does what was decided if it is still so; else decides again. None where there is
    /// no such replay. A decision is an answer, and a write where something is to change.
    async fn decide<T>(
        &self,
        id: &str,
        with_results: bool,
        decision: impl Fn(&Seen) -> (T, Option<Write>),
    ) -> Result<Option<T>, StorageFailure> {
        for turn in 0..MOST_TRIES {
            let Some(seen) = self.see_replay(id, with_results).await? else { return Ok(None) };
            let (answer, write) = decision(&seen);
            let Some(write) = write else { return Ok(Some(answer)) };
            if let Written::Done(_) = write.run(self.link(), &self.keys().meta()).await? {
                return Ok(Some(answer));
            }
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..500) * u64::from(turn.min(20)))).await;
        }
        Err(StorageFailure::Busy { waited: Duration::ZERO })
    }

    /// Takes or renews the right to run a replay; with it whether it is a new one. One that is taken anew is, also where the
    /// token holds one.
    pub(crate) async fn take_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
        anew: bool,
    ) -> Result<Option<(ReplayLease, bool)>, StorageFailure> {
        Ok(self.decide(id, false, |seen| self.lease_of(seen, token, duration, anew)).await?.flatten())
    }

    fn lease_of(
        &self,
        seen: &Seen,
        token: u64,
        duration: Duration,
        anew: bool,
    ) -> (Option<(ReplayLease, bool)>, Option<Write>) {
        let id = &seen.row.id;
        let is_own = |(epoch, holder): &(u64, u64)| *holder == token && epoch / EPOCHS == seen.epoch;
        let held = seen.row.runner.lease.filter(|lease| !anew && is_own(lease));
        let others = seen.row.runner.lease.is_some_and(|(_, holder)| holder != token);
        if seen.row.state.is_final() || (others && seen.row.runner.runs(seen.now)) {
            return (None, None);
        }
        let key = record_key(self.keys(), id);
        let mut write = seen.write(self);
        let epoch =
            held.map_or(seen.epoch * EPOCHS + (seen.row.runner.last + 1) % EPOCHS, |(epoch, _)| epoch);
        if held.is_none() {
            write.hset(&key, "lease", lease_text(epoch, token)).hset(&key, "last", seen.row.runner.last + 1);
        }
        let length = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        write.hset(&key, "until", seen.now.saturating_add(length));
        (Some((ReplayLease { replay_id: id.clone(), epoch, token }, held.is_none())), Some(write))
    }

    /// Notes how far a replay is; its state afterwards, and whether it holds something that it did not before.
    pub(crate) async fn step_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<(ReplayState, bool), ReplayStoreError> {
        let stepped = self.decide(&lease.replay_id, true, |seen| self.step(seen, lease, update)).await?;
        stepped.flatten().ok_or(ReplayStoreError::Fenced)
    }

    fn step(
        &self,
        seen: &Seen,
        lease: &ReplayLease,
        step: &ReplayUpdate,
    ) -> (Option<(ReplayState, bool)>, Option<Write>) {
        if !seen.is_newest(lease) {
            return (None, None);
        }
        let (keys, state) = (self.keys(), after_step(seen.row.state, step.state));
        let key = record_key(keys, &seen.row.id);
        let mut write = seen.write(self);
        seen.turn(self, &mut write, state);
        write.hset(&key, "progress", &step.progress);
        write.hset(&key, SETTLED, step.settled_batches);
        match &step.hold {
            Some(hold) => write.hset(&key, "hold", hold.to_string()),
            None => write.hdel(&key, "hold"),
        };
        let holds_more = step.hold.as_ref().is_some_and(|hold| keeps_more(seen.row.hold.as_ref(), hold));
        if holds_more {
            write.command("HINCRBY", &keys.meta(), ("holds", 1));
        }
        drop_results(&mut write, &results_key(keys, &seen.row.id), &seen.results, step.settled_batches);
        (Some((state, holds_more)), Some(write))
    }

    /// Drops results of batches below a number.
    pub(crate) async fn drop_settled(&self, id: &str, settled: u64) -> Result<(), StorageFailure> {
        let key = results_key(self.keys(), id);
        let fields: Vec<String> =
            FromRedisValue::from_redis_value(self.link().read(cmd("HKEYS").arg(&key)).await?)
                .map_err(|_| shape("results"))?;
        let mut write = Write::new();
        drop_results(&mut write, &key, &fields, settled);
        if !write.is_empty() {
            write.run(self.link(), &self.keys().meta()).await?;
        }
        Ok(())
    }

    /// Drops whatever a partition has of a replay that is over and about to be deleted.
    pub(crate) async fn forget_replay(&self, id: &str) -> Result<(), StorageFailure> {
        let keys = self.keys();
        let mut write = Write::new();
        write.del(&record_key(keys, id)).del(&results_key(keys, id)).del(&queued_key(keys, id));
        write.run(self.link(), &keys.meta()).await.map(drop)
    }

    /// The state of a replay, and the number below which its batches are settled; none where there is no such replay.
    pub(crate) async fn replay_stage(&self, id: &str) -> Result<Option<(ReplayState, u64)>, StorageFailure> {
        let mut command = cmd("HMGET");
        command.arg(record_key(self.keys(), id)).arg(&["state", SETTLED][..]);
        let (state, settled): (Option<String>, Option<u64>) =
            FromRedisValue::from_redis_value(self.link().read(&command).await?)
                .map_err(|_| shape("a replay"))?;
        state.map(|state| Ok((rows::state_of(&state)?, settled.unwrap_or(0)))).transpose()
    }

    async fn results_by_batch(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, StorageFailure> {
        let key = results_key(self.keys(), id);
        let mut keys_of = cmd("HKEYS");
        keys_of.arg(&key);
        let fields: Vec<String> = FromRedisValue::from_redis_value(self.link().read(&keys_of).await?)
            .map_err(|_| shape("results"))?;
        let mut places: Vec<_> =
            fields.iter().filter_map(|field| Some((rows::result_of_field(field)?, field))).collect();
        places.sort_unstable();
        places.truncate(limit);
        let mut results = Vec::with_capacity(places.len());
        for places in places.chunks(FIELDS_AT_ONCE) {
            let mut values = cmd("HMGET");
            values.arg(&key);
            for (_, field) in places {
                values.arg(field);
            }
            let texts: Vec<Option<String>> =
                FromRedisValue::from_redis_value(self.link().read(&values).await?)
                    .map_err(|_| shape("results"))?;
            for text in texts.into_iter().flatten() {
                results.push(serde_json::from_str(&text).map_err(|error| {
                    StorageFailure::Corrupt(format!("a result of the replay {id:?}: {error}"))
                })?);
            }
        }
        Ok(results)
    }

    fn wished(&self, seen: &Seen, wish: ReplayWish) -> (ReplayState, Option<Write>) {
        let before = seen.row.state;
        if before.is_final() {
            return (before, None);
        }
        let state = after_wish(before, wish, seen.row.runner.runs(seen.now));
        if state == before {
            return (state, None);
        }
        let mut write = seen.write(self);
        seen.turn(self, &mut write, state);
        (state, Some(write))
    }

    fn deleted(&self, seen: &Seen) -> (bool, Option<Write>) {
        if !seen.row.state.is_final() {
            return (false, None);
        }
        let (keys, id) = (self.keys(), &seen.row.id);
        let mut write = seen.write(self);
        write.del(&record_key(keys, id)).del(&results_key(keys, id)).del(&queued_key(keys, id));
        write.command("ZREM", &rows::all_key(keys), rows::index_name(seen.row.created_at, id));
        (true, Some(write))
    }
}

#[async_trait]
impl ReplayStore for Partition {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        let mut chunks: BTreeMap<u64, BTreeSet<u32>> = BTreeMap::new();
        let sequences = positions.iter().copied().filter_map(sequence);
        for sequence in sequences.filter(|sequence| *sequence < NO_SEQUENCE) {
            chunks.entry(chunk_of(sequence)).or_default().insert((sequence % CHUNK) as u32);
        }
        if chunks.is_empty() {
            return Ok(());
        }
        let keys = self.keys();
        let mut names = vec![keys.meta()];
        let mut args = vec![micros(at).to_string().into_bytes()];
        for (chunk, offsets) in chunks {
            names.extend([keys.log(chunk), keys.replayed(chunk)]);
            args.extend([
                chunk.to_string().into_bytes(),
                offsets.into_iter().flat_map(u32::to_be_bytes).collect(),
            ]);
        }
        self.link().call("replayed", &names, &args).await?;
        Ok(())
    }

    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError> {
        let keys = self.keys();
        let (key, name) = (record_key(keys, &record.id), rows::index_name(record.created_at, &record.id));
        let mut write = Write::new();
        write.fenced().if_none(&key);
        for (field, value) in rows::fields(record) {
            write.hset(&key, field, value);
        }
        write.command("ZADD", &rows::all_key(keys), (0, &name));
        if !record.state.is_final() {
            write.command("ZADD", &rows::open_key(keys), (0, &name));
        }
        if record.hold.is_some() {
            write.command("HINCRBY", &keys.meta(), ("holds", 1));
        }
        loop {
            match write.run(self.link(), &keys.meta()).await? {
                Written::Done(_) => return Ok(()),
                Written::Refused(_) => return Err(ReplayStoreError::Exists(record.id.clone())),
                // Nothing of it was decided on what was read.
                Written::Moved => {}
            }
        }
    }

    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError> {
        let found = self.replay_records(&[id.to_owned()]).await?.pop();
        Ok(found.map(|(record, _)| record))
    }

    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let ids = self.replays_in(&rows::all_key(self.keys()), true, limit).await?;
        Ok(self.replay_records(&ids).await?.into_iter().map(|(record, _)| record).collect())
    }

    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let ids = self.replays_in(&rows::open_key(self.keys()), false, usize::MAX).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.replay_records(&ids).await?;
        let now = self.now().await?;
        let waits = |(record, runner): &(ReplayRecord, Runner)| !record.state.is_final() && !runner.runs(now);
        Ok(records.into_iter().filter(waits).map(|(record, _)| record).collect())
    }

    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        Ok(self.take_replay(id, token, duration, false).await?.map(|(lease, _)| lease))
    }

    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError> {
        Ok(self.step_replay(lease, update).await?.0)
    }

    async fn wish(&self, id: &str, wish: ReplayWish) -> Result<Option<ReplayState>, ReplayStoreError> {
        Ok(self.decide(id, false, |seen| self.wished(seen, wish)).await?)
    }

    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError> {
        Ok(self.results_by_batch(id, limit).await?)
    }

    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError> {
        Ok(self.decide(id, false, |seen| self.deleted(seen)).await?.unwrap_or(false))
    }
}
