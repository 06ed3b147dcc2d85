//! Rows of groups: each segment is there, and what a segment has can be read and counts right.

use std::collections::{HashMap, HashSet};

use domain::{
    StorageFailure,
    ports::engine::{Read, Space, SpaceKind, rows::KeyReader},
};

use super::Findings;
use crate::{
    groups::record::{ConsumerRow, Fence, Group, LaneRow, LeaseRow, cursor_and_claim, progress},
    partition::Partition,
    rows::{from_json, number, number_in, of, of_segment, segment_in, text_in},
};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

pub(super) async fn check(
    partition: Partition<'_>,
    partitions: u16,
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    let rows = partition.get(&[Read::all(Space::of(SpaceKind::Group))]).await?.range();
    let mut known = HashMap::new();
    for (key, value) in rows {
        let Some(name) = findings.readable(text_in(&key))? else { continue };
        let group = findings.readable(Group::read(&name, value, None))?;
        let segments = group
            .as_ref()
            .map(|group| group.row.segments(partition.number, partitions).map(u64::from).collect());
        known.insert(name, segments);
        if let Some(group) = group {
            check_group(partition, partitions, &group, findings).await?;
        }
    }
    check_strays(partition, &known, findings).await
}

async fn check_group(
    partition: Partition<'_>,
    partitions: u16,
    group: &Group,
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    let name = group.name();
    let kinds = [
        SpaceKind::Segment,
        SpaceKind::Fence,
        SpaceKind::Lease,
        SpaceKind::Consumer,
        SpaceKind::LaneEnd,
        SpaceKind::LaneSize,
    ];
    let mut found = partition.get(&kinds.map(|kind| Read::all(of(kind, name)))).await?;
    let expected: Vec<u16> = group.row.segments(partition.number, partitions).collect();
    let mut segments = HashSet::new();
    for (key, value) in found.range() {
        segments.extend(findings.readable(segment_in(&key))?);
        findings.readable(in_group(name, cursor_and_claim(&value)))?;
    }
    if expected.iter().any(|segment| !segments.contains(segment)) {
        let there = expected.iter().filter(|segment| segments.contains(segment)).count();
        findings.add(format!("the group {name:?} has {there} segments of {}", expected.len()));
    }
    for (_, value) in found.range() {
        findings.readable(in_group(name, Fence::read(&value)))?;
    }
    for (_, value) in found.range() {
        findings.readable(in_group(name, LeaseRow::read(&value)))?;
    }
    for (_, value) in found.range() {
        findings.readable(in_group(name, ConsumerRow::read(&value)))?;
    }
    let (ends, sizes) = (by_segment(found.range(), findings)?, by_segment(found.range(), findings)?);
    for segment in expected {
        let counted = (ends.get(&segment).copied(), sizes.get(&segment).copied());
        check_segment(partition, name, segment, counted, findings).await?;
    }
    Ok(())
}

fn in_group<T>(name: &str, read: Result<T, StorageFailure>) -> Result<T, StorageFailure> {
    read.map_err(|failure| match failure {
        StorageFailure::Corrupt(detail) => StorageFailure::Corrupt(format!("the group {name:?}: {detail}")),
        other => other,
    })
}

fn by_segment(rows: Rows, findings: &mut Findings) -> Result<HashMap<u16, u64>, StorageFailure> {
    let mut numbers = HashMap::new();
    for (key, value) in rows {
        let segment = findings.readable(segment_in(&key))?;
        let number = findings.readable(number(Some(&value)))?;
        numbers.extend(segment.zip(number));
    }
    Ok(numbers)
}

/// Checks what a segment has: its blocked keys, and its lane against the lane's end and size.
async fn check_segment(
    partition: Partition<'_>,
    name: &str,
    segment: u16,
    (end, size): (Option<u64>, Option<u64>),
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    let kinds = [SpaceKind::Blocked, SpaceKind::Lane, SpaceKind::LaneProgress];
    let mut found = partition.get(&kinds.map(|kind| Read::all(of_segment(kind, name, segment)))).await?;
    let named = |failure: StorageFailure| match failure {
        StorageFailure::Corrupt(detail) => {
            StorageFailure::Corrupt(format!("the group {name:?}, segment {segment}: {detail}"))
        }
        other => other,
    };
    for (key, value) in found.range() {
        let read: Result<domain::group::BlockedKey, _> = from_json(&value, "a blocked key");
        let Some(row) = findings.readable(read.map_err(named))? else { continue };
        if crate::rows::blocked(name, segment, &row.key).key != key {
            findings.add(format!(
                "the group {name:?}, segment {segment}: a blocked key is in the row of another"
            ));
        }
    }
    let (mut held, mut last, mut places) = (0, 0, HashSet::new());
    for (key, value) in found.range() {
        let Some(place) = findings.readable(number_in(&key).map_err(named))? else { continue };
        places.insert(place);
        last = last.max(place);
        if let Some(row) = findings.readable(LaneRow::read(place, &value).map_err(named))? {
            held += row.positions.len() as u64;
        }
    }
    for (key, value) in found.range() {
        let Some(place) = findings.readable(number_in(&key).map_err(named))? else { continue };
        findings.readable(progress(place, &value).map_err(named))?;
        if !places.contains(&place) {
            findings.add(format!(
                "the group {name:?}, segment {segment}: progress is kept of the batch {place}, which is not in the lane"
            ));
        }
    }
    let counted = size.unwrap_or(0);
    if counted != held {
        findings.add(format!(
            "the lane of segment {segment} of the group {name:?} counts {counted} references and holds {held}"
        ));
    }
    if end.unwrap_or(0) < last {
        findings.add(format!(
            "the lane of segment {segment} of the group {name:?} ends at {} and holds the batch {last}",
            end.unwrap_or(0)
        ));
    }
    Ok(())
}

/// Rows of groups, or of segments, that do not exist.
async fn check_strays(
    partition: Partition<'_>,
    known: &HashMap<String, Option<HashSet<u64>>>,
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    const KINDS: [SpaceKind; 9] = [
        SpaceKind::Segment,
        SpaceKind::Fence,
        SpaceKind::Lease,
        SpaceKind::Consumer,
        SpaceKind::LaneEnd,
        SpaceKind::LaneSize,
        SpaceKind::Blocked,
        SpaceKind::Lane,
        SpaceKind::LaneProgress,
    ];
    let mut strays = HashSet::new();
    for scope in partition.scopes(&KINDS).await?.unwrap_or_default() {
        let mut reader = KeyReader::new(&scope);
        let Some(name) = reader.text() else {
            findings.add("a scope of a group's rows cannot be read");
            continue;
        };
        match (known.get(&name), reader.number()) {
            (None, _) => drop(strays.insert(name)),
            (Some(Some(segments)), Some(segment)) if !segments.contains(&segment) => {
                findings.add(format!(
                    "there are rows of the segment {segment} of the group {name:?}, which has none"
                ));
            }
            _ => {}
        }
    }
    for name in strays {
        findings.add(format!("there are keys of the group {name:?}, which does not exist"));
    }
    Ok(())
}
