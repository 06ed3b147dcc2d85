//! Checks the rows of groups. Each segment must exist, its rows must be readable, and its counts must be correct.

use std::collections::{BTreeSet, HashMap, HashSet};

use domain::{
    StorageFailure,
    group::{BlockedKey, GroupPause},
    ports::engine::{Space, SpaceKind, rows::KeyReader},
};

use super::{Findings, within};
use crate::{
    groups::record::{ConsumerRow, Fence, Group, LaneRow, LeaseRow, OF_GROUP, cursor_and_claim, progress},
    partition::Partition,
    rows::{blocked, from_json, number, number_in, of, of_segment, segment_in, text_in},
};

pub(super) async fn check(
    partition: Partition<'_>,
    partitions: u16,
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    let mut known = HashMap::new();
    for (key, value) in partition.all(Space::of(SpaceKind::Group)).await? {
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
    let (name, owner) = (group.name(), format!("the group {:?}", group.name()));
    let mut found = partition.all_of(OF_GROUP.map(|kind| of(kind, name))).await?;
    let cursors = found.range();
    let segments = findings.read_all(&cursors, |key, _| segment_in(key))?;
    findings.read_all(&cursors, |_, value| within(&owner, cursor_and_claim(value)))?;
    let expected: Vec<u16> = group.row.segments(partition.number, partitions).collect();
    let there = expected.iter().filter(|segment| segments.contains(segment)).count();
    if there < expected.len() {
        findings.add(format!("{owner} has {there} segments of {}", expected.len()));
    }
    findings.read_all(&found.range(), |_, value| within(&owner, Fence::read(value)))?;
    findings.read_all(&found.range(), |_, value| within(&owner, LeaseRow::read(value)))?;
    findings.read_all(&found.range(), |_, value| within(&owner, ConsumerRow::read(value)))?;
    let mut by_segment = || -> Result<HashMap<u16, u64>, StorageFailure> {
        let counted = |key: &[u8], value: &[u8]| Ok((segment_in(key)?, number(Some(value))?));
        Ok(findings.read_all(&found.range(), counted)?.into_iter().collect())
    };
    let (ends, sizes) = (by_segment()?, by_segment()?);
    let pause = |value: &[u8]| from_json::<GroupPause>(value, "a pause");
    findings.read_all(&found.range(), |_, value| within(&owner, pause(value)))?;
    for segment in expected {
        let counted = [&ends, &sizes].map(|numbers| numbers.get(&segment).copied().unwrap_or(0));
        check_segment(partition, name, segment, counted, findings).await?;
    }
    Ok(())
}

/// Checks the rows of a segment: its blocked keys, and its lane against the lane's end and size.
async fn check_segment(
    partition: Partition<'_>,
    name: &str,
    segment: u16,
    [end, size]: [u64; 2],
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    let owner = format!("the group {name:?}, segment {segment}");
    let kinds = [SpaceKind::Blocked, SpaceKind::Lane, SpaceKind::LaneProgress];
    let mut found = partition.all_of(kinds.map(|kind| of_segment(kind, name, segment))).await?;
    for (key, value) in found.range() {
        let read: Result<BlockedKey, _> = from_json(&value, "a blocked key");
        let Some(row) = findings.readable(within(&owner, read))? else { continue };
        if blocked(name, segment, &row.key).key != key {
            findings.add(format!("{owner}: a blocked key is in the row of another"));
        }
    }
    let (mut held, mut places) = (0, BTreeSet::new());
    for (key, value) in found.range() {
        let Some(place) = findings.readable(within(&owner, number_in(&key)))? else { continue };
        places.insert(place);
        let row = findings.readable(within(&owner, LaneRow::read(place, &value)))?;
        held += row.map_or(0, |row| row.positions.len() as u64);
    }
    for (key, value) in found.range() {
        let Some(place) = findings.readable(within(&owner, number_in(&key)))? else { continue };
        findings.readable(within(&owner, progress(place, &value)))?;
        if !places.contains(&place) {
            findings.add(format!("{owner}: progress is kept of the batch {place}, which is not in the lane"));
        }
    }
    let lane = format!("the lane of segment {segment} of the group {name:?}");
    if size != held {
        findings.add(format!("{lane} counts {size} references and holds {held}"));
    }
    if let Some(last) = places.last().filter(|last| **last > end) {
        findings.add(format!("{lane} ends at {end} and holds the batch {last}"));
    }
    Ok(())
}

/// Finds rows of groups or segments that do not exist.
async fn check_strays(
    partition: Partition<'_>,
    known: &HashMap<String, Option<HashSet<u64>>>,
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    let kinds = OF_GROUP.into_iter().chain([SpaceKind::Blocked, SpaceKind::Lane, SpaceKind::LaneProgress]);
    let mut strays = HashSet::new();
    for scope in partition.scopes(&kinds.collect::<Vec<_>>()).await?.unwrap_or_default() {
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
