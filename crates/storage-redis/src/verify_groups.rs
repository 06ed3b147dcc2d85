//! Verification of what stands beside the log: groups have their segments, and what is kept for them can be read.

use domain::{
    StorageFailure,
    ports::{EventStoreError, VerifyReport},
};
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    failure::shape,
    group_rows::{Group, GroupKeys, lane, ledger, places},
    partition::Partition,
};

/// Adds what is found to a report.
pub(crate) async fn check(store: &Partition, report: &mut VerifyReport) -> Result<(), EventStoreError> {
    let groups = match store.all_groups().await {
        Ok(groups) => groups,
        Err(failure) => return damage(failure, report),
    };
    for group in &groups {
        let mut found = Found::default();
        check_group(store, group, &mut found).await?;
        // A commit that came between two answers is not a fault: what is wrong is wrong again.
        if !found.0.is_empty() {
            let mut again = Found::default();
            check_group(store, group, &mut again).await?;
            found.0.retain(|detail| again.0.contains(detail));
        }
        for detail in found.0 {
            report.add(None, detail);
        }
    }
    Ok(())
}

/// What seems wrong with a group.
#[derive(Default)]
struct Found(Vec<String>);

async fn check_group(store: &Partition, group: &Group, found: &mut Found) -> Result<(), StorageFailure> {
    let (keys, count) = (GroupKeys::new(store.keys(), group.name()), group.row.spec.segments);
    let mut pipeline = Pipeline::new();
    pipeline.cmd("HGETALL").arg(keys.segments()).cmd("HGETALL").arg(keys.lanes());
    for segment in 0..count {
        pipeline.cmd("HVALS").arg(keys.ledger(segment));
        pipeline.cmd("HGETALL").arg(keys.lane(segment));
    }
    let mut answers = store.link().read_all(&pipeline).await?.into_iter();
    let mut next = || answers.next().ok_or_else(|| shape("a group"));
    let (segments, lanes) = (next()?, next()?);
    let lanes: std::collections::HashMap<String, u64> =
        FromRedisValue::from_redis_value(lanes).map_err(|_| shape("the lanes of a group"))?;
    match places(segments) {
        Ok(segments) if segments.len() == usize::from(count) => {}
        Ok(segments) => {
            found.0.push(format!("the group {:?} has {} segments of {count}", group.name(), segments.len()));
        }
        Err(failure) => found.0.push(format!("the group {:?}: {failure}", group.name())),
    }
    for segment in 0..count {
        let (rows, batches) = (next()?, next()?);
        let references = lanes.get(&format!("r{segment}")).copied();
        // From here on as people know it.
        let segment = store.outward_segment(segment);
        if let Err(failure) = ledger(rows) {
            found.0.push(format!("the group {:?}, segment {segment}: {failure}", group.name()));
        }
        check_lane(group, segment, batches, references, found);
    }
    Ok(())
}

fn check_lane(group: &Group, segment: u16, batches: Value, counted: Option<u64>, found: &mut Found) {
    match lane(segment, batches) {
        Err(failure) => found.0.push(format!("the group {:?}, segment {segment}: {failure}", group.name())),
        Ok(batches) => {
            let held: usize = batches.iter().map(|batch| batch.positions.len()).sum();
            let counted = counted.unwrap_or(0);
            if held as u64 != counted {
                let name = group.name();
                found.0.push(format!(
                    "the lane of segment {segment} of the group {name:?} counts {counted} references and holds {held}"
                ));
            }
        }
    }
}

/// What cannot be read is a finding; a server that cannot be asked is a failure.
fn damage(failure: StorageFailure, report: &mut VerifyReport) -> Result<(), EventStoreError> {
    match failure {
        StorageFailure::Corrupt(detail) => {
            report.add(None, detail);
            Ok(())
        }
        failure => Err(failure.into()),
    }
}
