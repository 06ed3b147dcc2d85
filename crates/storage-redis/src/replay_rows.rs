//! Where replays are kept: their records, what their batches left behind, and how often each event was replayed.
//!
//! A record is a hash of its own, so that a step of the runner does not write the plan again. An index of their names,
//! each behind the instant at which it was made, gives them in order; another holds those alone that are not over.

use std::collections::HashMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    Cursor, StorageFailure,
    ports::{ReplayLease, ReplayRecord, ReplayState},
};
use jiff::Timestamp;
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    failure::shape,
    group_rows::answers,
    keys::Keys,
    partition::Partition,
    tries::Tries,
    write::{Write, Written, text},
};

/// Records that are read in one round trip: each may hold a long plan.
const RECORDS_AT_ONCE: usize = 32;

/// The states, each as it stands in a record.
const STATES: [(ReplayState, &str); 7] = [
    (ReplayState::Planned, "PLANNED"),
    (ReplayState::Running, "RUNNING"),
    (ReplayState::Paused, "PAUSED"),
    (ReplayState::Cancelling, "CANCELLING"),
    (ReplayState::Cancelled, "CANCELLED"),
    (ReplayState::Completed, "COMPLETED"),
    (ReplayState::Failed, "FAILED"),
];

/// The record of a replay.
pub(crate) fn record_key(keys: &Keys, id: &str) -> String {
    keys.with_text("replay", id)
}

/// What the batches of a replay left: a hash of results by [`result_field`], each as JSON.
pub(crate) fn results_key(keys: &Keys, replay_id: &str) -> String {
    keys.with_text("rr", replay_id)
}

/// Where the result of a batch stands, in one segment of one group.
pub(crate) fn result_field(batch: u64, segment: u16, group: &str) -> String {
    format!("{batch}:{segment}:{}", URL_SAFE_NO_PAD.encode(group))
}

/// The batch, group and segment of a field, in the order in which results are given.
pub(crate) fn result_of_field(field: &str) -> Option<(u64, String, u16)> {
    let mut parts = field.splitn(3, ':');
    let (batch, segment, group) = (parts.next()?, parts.next()?, parts.next()?);
    let group = String::from_utf8(URL_SAFE_NO_PAD.decode(group).ok()?).ok()?;
    Some((batch.parse().ok()?, group, segment.parse().ok()?))
}

/// The index of all replays.
pub(crate) fn all_key(keys: &Keys) -> String {
    keys.named("replays")
}

/// The index of those that are not over.
pub(crate) fn open_key(keys: &Keys) -> String {
    keys.named("replays:open")
}

/// A replay's name in the indexes: such names stand in the order in which replays were made, and then of their ids.
pub(crate) fn index_name(created_at: Timestamp, id: &str) -> Vec<u8> {
    let since_the_beginning = created_at.as_nanosecond().wrapping_sub(i128::MIN).cast_unsigned();
    [&since_the_beginning.to_be_bytes()[..], id.as_bytes()].concat()
}

/// The id in a name of [`index_name`].
fn id_of_name(name: &[u8]) -> Option<&str> {
    std::str::from_utf8(name.get(16..)?).ok()
}

/// The name of a state.
pub(crate) fn state_name(state: ReplayState) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map_or("", |(_, name)| name)
}

/// The state of a name.
pub(crate) fn state_of(name: &str) -> Result<ReplayState, StorageFailure> {
    let found = STATES.iter().find(|(_, known)| *known == name).map(|(state, _)| *state);
    found.ok_or_else(|| StorageFailure::Corrupt(format!("a replay is in no state, but {name:?}")))
}

/// A lease as it stands in a record.
pub(crate) fn lease_text(epoch: u64, token: u64) -> String {
    format!("{epoch}:{token}")
}

/// Lets a write through only while a lease is its replay's newest.
pub(crate) fn if_newest(write: &mut Write, keys: &Keys, lease: &ReplayLease) {
    write.if_is(&record_key(keys, &lease.replay_id), "lease", lease_text(lease.epoch, lease.token));
}

/// Lets a write through only while the stamp of a lease was put in the present log epoch of its partition: one that was put
/// before is of a server that may have lost what was queued under it.
pub(crate) fn if_stamped_in_this_epoch(write: &mut Write, keys: &Keys, lease: &ReplayLease) {
    write.if_of_this_epoch(&record_key(keys, &lease.replay_id), STAMPED_IN);
}

/// In every partition but the first the key of a replay's record has the stamp of its newest lease, so that whoever had one
/// before puts no more into lanes: the field `lease` as the record has it, and this, the partition's own log epoch.
pub(crate) const STAMPED_IN: &str = "log";

/// The stamp of a replay that is over: no lease comes after it.
const OVER: (u64, u64) = (u64::MAX, 0);

/// The fields of a record that a new replay has.
pub(crate) fn fields(record: &ReplayRecord) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("id", record.id.clone()),
        ("state", state_name(record.state).to_owned()),
        ("created", record.created_at.to_string()),
        ("updated", record.updated_at.to_string()),
        ("plan", record.plan.clone()),
        ("progress", record.progress.clone()),
    ];
    fields.extend(record.hold.as_ref().map(|hold| ("hold", hold.to_string())));
    fields
}

/// What decisions on a replay are made by: all of its record that is short.
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) state: ReplayState,
    pub(crate) created_at: Timestamp,
    pub(crate) hold: Option<Cursor>,
    pub(crate) runner: Runner,
}

/// Who runs a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Runner {
    /// Epoch and token of the newest lease; none once the replay is over.
    pub(crate) lease: Option<(u64, u64)>,
    /// Until when it is good, in microseconds.
    pub(crate) until: i64,
    /// How many leases there were.
    pub(crate) last: u64,
}

/// The fields that [`Row::read`] takes.
pub(crate) const ROW: [&str; 7] = ["id", "state", "created", "hold", "lease", "until", "last"];

impl Row {
    /// Reads what an `HMGET` of [`ROW`] answered; none where there is no such replay.
    pub(crate) fn read(answer: Value) -> Result<Option<Self>, StorageFailure> {
        let values: Vec<Option<String>> =
            FromRedisValue::from_redis_value(answer).map_err(|_| shape("a replay"))?;
        let named = ROW.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        Self::of(&named.collect())
    }

    fn of(fields: &HashMap<String, String>) -> Result<Option<Self>, StorageFailure> {
        let Some(id) = fields.get("id") else { return Ok(None) };
        let hold =
            fields.get("hold").map(|hold| hold.parse().map_err(|_| damaged(id, "hold"))).transpose()?;
        let lease = fields.get("lease").and_then(|lease| {
            let (epoch, token) = lease.split_once(':')?;
            Some((epoch.parse().ok()?, token.parse().ok()?))
        });
        let number = |name: &str| fields.get(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        Ok(Some(Self {
            id: id.clone(),
            state: state_of(of_replay(fields, id, "state")?)?,
            created_at: time(fields, id, "created")?,
            hold,
            runner: Runner { lease, until: number("until"), last: number("last") as u64 },
        }))
    }
}

fn damaged(id: &str, name: &str) -> StorageFailure {
    StorageFailure::Corrupt(format!("the field {name} of the replay {id:?} is damaged"))
}

fn of_replay<'f>(
    fields: &'f HashMap<String, String>,
    id: &str,
    name: &str,
) -> Result<&'f str, StorageFailure> {
    fields.get(name).map(String::as_str).ok_or_else(|| damaged(id, name))
}

fn time(fields: &HashMap<String, String>, id: &str, name: &str) -> Result<Timestamp, StorageFailure> {
    of_replay(fields, id, name)?.parse().map_err(|_| damaged(id, name))
}

/// The record in the answer of an `HGETALL`, and who runs it; none where there is no such replay.
fn read_record(answer: Value) -> Result<Option<(ReplayRecord, Runner)>, StorageFailure> {
    let fields: HashMap<String, String> =
        FromRedisValue::from_redis_value(answer).map_err(|_| shape("a replay"))?;
    let Some(row) = Row::of(&fields)? else { return Ok(None) };
    let id = row.id;
    let record = ReplayRecord {
        state: row.state,
        created_at: row.created_at,
        updated_at: time(&fields, &id, "updated")?,
        plan: of_replay(&fields, &id, "plan")?.to_owned(),
        progress: of_replay(&fields, &id, "progress")?.to_owned(),
        hold: row.hold,
        id,
    };
    Ok(Some((record, row.runner)))
}

impl Runner {
    /// Whether somebody runs it.
    pub(crate) fn runs(&self, now: i64) -> bool {
        self.lease.is_some() && now < self.until
    }
}

/// A stamp as it was read.
struct Stamp {
    lease: Option<String>,
    stamped_in: Option<String>,
    /// The partition's log epoch.
    epoch: String,
}

impl Stamp {
    /// The epoch of its lease.
    fn lease_epoch(&self) -> u64 {
        let epoch = self.lease.as_ref().and_then(|lease| lease.split_once(':')?.0.parse().ok());
        epoch.unwrap_or(0)
    }
}

impl Partition {
    async fn stamp_of(&self, replay_id: &str) -> Result<Stamp, StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("HMGET").arg(record_key(self.keys(), replay_id)).arg(&["lease", STAMPED_IN][..]);
        pipeline.cmd("HGET").arg(self.keys().meta()).arg("epoch");
        let [stamp, epoch] = answers(self.link().read_all(&pipeline).await?)?;
        let (lease, stamped_in) =
            FromRedisValue::from_redis_value(stamp).map_err(|_| shape("the stamp of a lease"))?;
        let epoch = text(&epoch).ok_or_else(|| shape("the log epoch"))?.to_owned();
        Ok(Stamp { lease, stamped_in, epoch })
    }

    /// Whether a lease is stamped here, in the present log epoch.
    pub(crate) async fn is_stamped(&self, lease: &ReplayLease) -> Result<bool, StorageFailure> {
        let stamp = self.stamp_of(&lease.replay_id).await?;
        let is_it = stamp.lease == Some(lease_text(lease.epoch, lease.token));
        Ok(is_it && stamp.stamped_in.as_ref() == Some(&stamp.epoch))
    }

    /// Stamps a lease; false where a newer one was stamped.
    pub(crate) async fn stamp(&self, lease: &ReplayLease) -> Result<bool, StorageFailure> {
        self.put_stamp(&lease.replay_id, (lease.epoch, lease.token)).await
    }

    /// Stamps a replay as over.
    pub(crate) async fn stamp_as_over(&self, replay_id: &str) -> Result<(), StorageFailure> {
        self.put_stamp(replay_id, OVER).await.map(drop)
    }

    async fn put_stamp(&self, replay_id: &str, (epoch, token): (u64, u64)) -> Result<bool, StorageFailure> {
        let key = record_key(self.keys(), replay_id);
        let mut tries = Tries::new();
        loop {
            let stamp = self.stamp_of(replay_id).await?;
            if stamp.lease_epoch() > epoch {
                return Ok(false);
            }
            let mut write = Write::new();
            write.fenced().if_is(&self.keys().meta(), "epoch", &stamp.epoch);
            write.if_still(&key, "lease", stamp.lease.as_ref().map(String::as_bytes));
            write.hset(&key, "lease", lease_text(epoch, token)).hset(&key, STAMPED_IN, &stamp.epoch);
            if let Written::Done(_) = write.run(self.link(), &self.keys().meta()).await? {
                return Ok(true);
            }
            tries.again().await?;
        }
    }

    /// The ids in an index, from one end of it or the other.
    pub(crate) async fn replays_in(
        &self,
        index: &str,
        newest_first: bool,
        limit: usize,
    ) -> Result<Vec<String>, StorageFailure> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut command = cmd(if newest_first { "ZREVRANGE" } else { "ZRANGE" });
        command.arg(index).arg(0).arg(i64::try_from(limit).unwrap_or(i64::MAX) - 1);
        let names: Vec<Vec<u8>> = FromRedisValue::from_redis_value(self.link().read(&command).await?)
            .map_err(|_| shape("the replays"))?;
        names
            .iter()
            .map(|name| id_of_name(name).map(str::to_owned).ok_or_else(|| shape("a replay's name")))
            .collect()
    }

    /// The records of these ids, in their order; those that are gone are left out.
    pub(crate) async fn replay_records(
        &self,
        ids: &[String],
    ) -> Result<Vec<(ReplayRecord, Runner)>, StorageFailure> {
        let mut records = Vec::with_capacity(ids.len());
        for ids in ids.chunks(RECORDS_AT_ONCE) {
            let mut pipeline = Pipeline::with_capacity(ids.len());
            for id in ids {
                pipeline.cmd("HGETALL").arg(record_key(self.keys(), id));
            }
            for answer in self.link().read_all(&pipeline).await? {
                records.extend(read_record(answer)?);
            }
        }
        Ok(records)
    }

    /// The marks that replays hold which are not over, the oldest first, each with what it is called.
    pub(crate) async fn replay_holds(&self) -> Result<Vec<(Cursor, String)>, StorageFailure> {
        let ids = self.replays_in(&open_key(self.keys()), false, usize::MAX).await?;
        let mut pipeline = Pipeline::with_capacity(ids.len());
        for id in &ids {
            pipeline.cmd("HGET").arg(record_key(self.keys(), id)).arg("hold");
        }
        let mut holds = Vec::new();
        for (id, answer) in ids.iter().zip(self.link().read_all(&pipeline).await?) {
            let Some(hold) = text(&answer) else { continue };
            let damaged = |_| StorageFailure::Corrupt(format!("the hold of replay {id} is damaged"));
            holds.push((hold.parse().map_err(damaged)?, format!("replay {id}")));
        }
        Ok(holds)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    #[test]
    fn names_stand_in_the_order_of_time_and_then_of_ids() {
        let times = ["-009998-01-01T00:00:00Z", "1969-12-31T23:59:59.999999999Z", "1970-01-01T00:00:00Z"];
        let mut names = Vec::new();
        for time in times {
            for id in ["", "a", "b", "b\u{0}", "ü"] {
                let name = index_name(time.parse().unwrap(), id);
                assert_eq!(id_of_name(&name), Some(id));
                names.push(name);
            }
        }
        assert!(names.is_sorted_by(|one, other| one < other), "{names:?}");
    }

    #[test]
    fn a_results_field_comes_back_whatever_the_group_is_called() {
        for group in ["", "a:b", "{x}", "ü\u{0}"] {
            let field = result_field(u64::MAX, 7, group);
            assert_eq!(result_of_field(&field), Some((u64::MAX, group.to_owned(), 7)));
        }
        assert_eq!(result_of_field("1:2"), None);
    }

    #[test]
    fn every_state_has_a_name() {
        for (state, name) in STATES {
            assert_eq!((state_name(state), state_of(name).unwrap()), (name, state));
        }
        assert!(state_of("ASLEEP").is_err());
    }
}
