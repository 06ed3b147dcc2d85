//! Leases on segments: who may commit to what, and how a group's segments are shared.
//!
//! Renewing what is held is one call of a function. What is new comes with the place of its segment in the same answer; its
//! ledger is read afterwards, for nobody but the lease's holder can change it.

use std::collections::HashMap;

use domain::{
    StorageFailure,
    group::{Lease, SegmentState},
    ports::{GroupStoreError, LeaseRequest, Leases},
};
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    failure::shape,
    group_rows::{self as rows, GroupKeys, Owner, Row},
    state::PARTITION,
    store::RedisStore,
    tries::Tries,
    write::{Write, Written, text},
};

/// A lease that is good for longer is good for ever: a hundred years, in microseconds.
const LONGEST: u128 = 100 * 366 * 24 * 3600 * 1_000_000;
/// What the function answered.
struct Answer {
    row: Row,
    share: u16,
    /// Segments and the epochs of their leases.
    held: Vec<(u16, u64)>,
    /// Of these the new ones, with cursor and claim.
    newest: Vec<(u16, (u64, u64))>,
}

impl RedisStore {
    pub(crate) async fn lease_segments(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        let answer = self.call_lease(request).await?;
        let Some(answer) = answer else { return Err(GroupStoreError::NoGroup(request.group.clone())) };
        let (group, token) = (request.group.clone(), request.token);
        let of = |(segment, epoch): (u16, u64)| Lease { group: group.clone(), segment, epoch, token };
        let mut held: Vec<Lease> = answer.held.into_iter().map(of).collect();
        held.sort_by_key(|lease| lease.segment);
        let mut ledgers =
            self.ledgers(&request.group, answer.newest.iter().map(|(segment, _)| *segment)).await?;
        let mut taken = Vec::with_capacity(answer.newest.len());
        for (segment, (cursor, claimed_to)) in answer.newest {
            let lease = held.iter().find(|lease| lease.segment == segment).cloned();
            let lease = lease.ok_or_else(|| shape("a lease"))?;
            let blocked = ledgers.remove(&segment).unwrap_or_default();
            taken.push((lease, SegmentState { partition: PARTITION, cursor, claimed_to, blocked }));
        }
        Ok(Leases { held, taken, share: answer.share, gaps: answer.row.gaps })
    }

    async fn call_lease(&self, request: &LeaseRequest) -> Result<Option<Answer>, StorageFailure> {
        let keys = GroupKeys::new(self.keys(), &request.group);
        let names = [
            self.keys().meta(),
            rows::groups_key(self.keys()),
            rows::seen_key(self.keys()),
            keys.consumers(),
            keys.segments(),
            keys.owners(),
        ];
        let args = [
            self.own_clock().map(|now| now.to_string()).unwrap_or_default(),
            request.group.clone(),
            request.consumer.clone(),
            request.token.to_string(),
            request.duration.as_micros().min(LONGEST).to_string(),
        ];
        read_lease(self.link().call("lease", &names, &args).await?)
    }

    /// The ledgers of segments.
    pub(crate) async fn ledgers(
        &self,
        group: &str,
        segments: impl Iterator<Item = u16>,
    ) -> Result<HashMap<u16, Vec<domain::group::BlockedKey>>, StorageFailure> {
        let keys = GroupKeys::new(self.keys(), group);
        let segments: Vec<u16> = segments.collect();
        let mut pipeline = Pipeline::with_capacity(segments.len());
        for segment in &segments {
            pipeline.cmd("HVALS").arg(keys.ledger(*segment));
        }
        let answers = self.link().read_all(&pipeline).await?;
        segments
            .into_iter()
            .zip(answers)
            .map(|(segment, answer)| Ok((segment, rows::ledger(answer)?)))
            .collect()
    }

    /// Where the group is gone there is nothing left to leave.
    pub(crate) async fn leave_group(
        &self,
        group: &str,
        consumer: &str,
        token: u64,
    ) -> Result<(), StorageFailure> {
        let mut tries = Tries::new();
        loop {
            let write = self.leaving(group, consumer, token).await?;
            if write.is_empty() {
                return Ok(());
            }
            match write.run(self.link(), &self.keys().meta()).await? {
                Written::Done(_) => return Ok(()),
                Written::Refused(_) | Written::Moved => tries.again().await?,
            }
        }
    }

    /// What leaving changes, if that is as it was read.
    async fn leaving(&self, group: &str, consumer: &str, token: u64) -> Result<Write, StorageFailure> {
        let keys = GroupKeys::new(self.keys(), group);
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("HGET").arg(keys.consumers()).arg(consumer);
        pipeline.cmd("HGETALL").arg(keys.owners());
        let [known, owners] = rows::answers(self.link().read_all(&pipeline).await?)?;
        let mut write = Write::new();
        // What a consumer does not give back others wait for.
        write.even_when_full();
        if let Some(known) = text(&known).filter(|known| known.starts_with(&format!("{token}:"))) {
            write.if_is(&keys.consumers(), consumer, known).hdel(&keys.consumers(), consumer);
        }
        let owners: HashMap<String, String> =
            FromRedisValue::from_redis_value(owners).map_err(|_| shape("who leases"))?;
        for (segment, known) in owners {
            let owner = Owner::read(&known).ok_or_else(|| shape("who leases"))?;
            if owner.until.is_some() && owner.token == token && owner.consumer == consumer {
                let free = Owner { until: None, ..owner }.text();
                write.if_is(&keys.owners(), &segment, known).hset(&keys.owners(), segment, free);
            }
        }
        Ok(write)
    }
}

fn read_lease(answer: Value) -> Result<Option<Answer>, StorageFailure> {
    let Value::Array(parts) = answer else { return Err(shape("a lease")) };
    let mut parts = parts.into_iter();
    match parts.next().as_ref().and_then(text) {
        Some("ok") => {}
        Some("nogroup") => return Ok(None),
        _ => return Err(shape("a lease")),
    }
    let [record, share, held, newest] = rows::answers(parts.collect())?;
    let Value::BulkString(record) = record else { return Err(shape("a lease")) };
    let row = rows::from_json(&record, || "the record of a group".to_owned())?;
    let share = match share {
        Value::Int(share) => u16::try_from(share).unwrap_or(u16::MAX),
        _ => return Err(shape("a lease")),
    };
    let pair = |pair: (String, String)| Some((pair.0.parse::<u16>().ok()?, pair.1));
    let pairs = |value: Value| -> Result<Vec<(u16, String)>, StorageFailure> {
        let flat: Vec<(String, String)> =
            FromRedisValue::from_redis_value(value).map_err(|_| shape("a lease"))?;
        flat.into_iter().map(|found| pair(found).ok_or_else(|| shape("a lease"))).collect()
    };
    let held = pairs(held)?.into_iter().map(|(segment, epoch)| Some((segment, epoch.parse().ok()?)));
    let held = held.collect::<Option<Vec<_>>>().ok_or_else(|| shape("a lease"))?;
    let newest = pairs(newest)?.into_iter().map(|(segment, at)| Some((segment, rows::place(&at)?)));
    let newest = newest.collect::<Option<Vec<_>>>().ok_or_else(|| shape("where a segment is"))?;
    Ok(Some(Answer { row, share, held, newest }))
}
