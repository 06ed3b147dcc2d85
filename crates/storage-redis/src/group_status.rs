//! How groups are doing: read by plain commands, so that whoever may only read can ask.

use std::collections::HashMap;

use domain::{
    StorageFailure,
    group::{BlockedKey, ConsumerStatus, GroupStatus, SegmentStatus},
};
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    failure::shape,
    group_rows::{self as rows, Group, GroupKeys, Owner},
    partition::Partition,
    state::{PARTITION, from_micros},
};

impl Partition {
    /// How a group is doing; none where there is no such.
    pub(crate) async fn status_of(&self, name: &str) -> Result<Option<GroupStatus>, StorageFailure> {
        let Some(group) = self.group_named(name).await? else { return Ok(None) };
        let keys = GroupKeys::new(self.keys(), name);
        let count = group.row.spec.segments;
        let mut pipeline = Pipeline::with_capacity(usize::from(count) + 6);
        pipeline.cmd("TIME");
        pipeline.cmd("HGET").arg(self.keys().meta()).arg("epoch");
        for key in [keys.consumers(), keys.segments(), keys.owners(), keys.lanes()] {
            pipeline.cmd("HGETALL").arg(key);
        }
        for segment in 0..count {
            pipeline.cmd("HVALS").arg(keys.ledger(segment));
        }
        let mut answers = self.link().read_all(&pipeline).await?;
        let ledgers = answers.split_off(answers.len().min(6));
        let [time, epoch, consumers, places, owners, lanes] = rows::answers(answers)?;
        let now = match self.own_clock() {
            Some(now) => now,
            None => micros_of(time)?,
        };
        let places = rows::places(places)?;
        let epoch: u64 = FromRedisValue::from_redis_value(epoch).map_err(|_| shape("the log epoch"))?;
        let owners = good_owners(owners, epoch, now)?;
        let lanes: HashMap<String, u64> =
            FromRedisValue::from_redis_value(lanes).map_err(|_| shape("the lanes of a group"))?;
        let mut segments = Vec::with_capacity(usize::from(count));
        for (segment, ledger) in (0..count).zip(ledgers) {
            let Some((cursor, _)) = places.get(&segment) else { continue };
            let lane = lanes.get(&format!("r{segment}")).copied().unwrap_or(0);
            let consumer = owners.get(&segment).cloned();
            segments.push(status(segment, *cursor, consumer, &rows::ledger(ledger)?, lane));
        }
        let consumers = alive(consumers, &segments, now)?;
        Ok(Some(GroupStatus { record: group.record(), segments, consumers, unreachable: Vec::new() }))
    }

    /// The first rows of a group's ledger.
    pub(crate) async fn ledger_of(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, StorageFailure> {
        let Some(group) = self.group_named(name).await? else { return Ok(Vec::new()) };
        let ledgers = self.ledgers(name, 0..group.row.spec.segments).await?;
        let of = |(segment, rows): (u16, Vec<BlockedKey>)| rows.into_iter().map(move |row| (segment, row));
        let mut rows: Vec<(u16, BlockedKey)> = ledgers.into_iter().flat_map(of).collect();
        rows.sort_by_key(|(segment, row)| (row.position, *segment));
        rows.truncate(limit);
        Ok(rows)
    }

    /// The segments of each group whose lanes have ever held anything.
    pub(crate) async fn busy_lanes(&self, groups: &[Group]) -> Result<Vec<Vec<u16>>, StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(groups.len());
        for group in groups {
            pipeline.cmd("HGETALL").arg(GroupKeys::new(self.keys(), group.name()).lanes());
        }
        let answers = self.link().read_all(&pipeline).await?;
        let busy = |answer: Value| {
            let figures: HashMap<String, u64> =
                FromRedisValue::from_redis_value(answer).map_err(|_| shape("the lanes of a group"))?;
            let busy = figures.into_iter().filter(|(field, _)| field.starts_with('l'));
            let mut segments: Vec<u16> = busy.filter_map(|(field, _)| field.get(1..)?.parse().ok()).collect();
            segments.sort_unstable();
            Ok(segments)
        };
        answers.into_iter().map(busy).collect()
    }
}

fn status(
    segment: u16,
    cursor: u64,
    consumer: Option<String>,
    ledger: &[BlockedKey],
    lane: u64,
) -> SegmentStatus {
    SegmentStatus {
        segment,
        partition: PARTITION,
        consumer,
        cursor,
        blocked_keys: ledger.len() as u64,
        parked_keys: ledger.iter().filter(|row| row.due.is_none()).count() as u64,
        oldest_blocked: ledger.first().map(|row| row.position),
        lane,
    }
}

/// Who holds which segment, by leases that are still good: those of an earlier log epoch are not.
fn good_owners(answer: Value, epoch: u64, now: i64) -> Result<HashMap<u16, String>, StorageFailure> {
    let owners: HashMap<String, String> =
        FromRedisValue::from_redis_value(answer).map_err(|_| shape("who leases"))?;
    let good = |(segment, text): (String, String)| {
        let owner = Owner::read(&text)?;
        owner.until.filter(|until| now < *until && owner.log_epoch() == epoch)?;
        Some((segment.parse().ok()?, owner.consumer))
    };
    Ok(owners.into_iter().filter_map(good).collect())
}

fn alive(answer: Value, segments: &[SegmentStatus], now: i64) -> Result<Vec<ConsumerStatus>, StorageFailure> {
    let consumers: HashMap<String, String> =
        FromRedisValue::from_redis_value(answer).map_err(|_| shape("the consumers of a group"))?;
    let status = |(name, text): (String, String)| {
        let until: i64 = text.split_once(':')?.1.parse().ok()?;
        let of_it = segments.iter().filter(|segment| segment.consumer.as_deref() == Some(&name)).count();
        (now < until).then(|| ConsumerStatus {
            name,
            alive_until: from_micros(until),
            segments: of_it as u16,
        })
    };
    let mut alive: Vec<ConsumerStatus> = consumers.into_iter().filter_map(status).collect();
    alive.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(alive)
}

/// The instant in the answer of `TIME`, in microseconds.
pub(crate) fn micros_of(answer: Value) -> Result<i64, StorageFailure> {
    let (seconds, micros): (i64, i64) =
        FromRedisValue::from_redis_value(answer).map_err(|_| shape("the time"))?;
    Ok(seconds * 1_000_000 + micros)
}
