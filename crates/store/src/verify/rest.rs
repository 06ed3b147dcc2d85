//! Rows of the schedule, of replays and of schemas.

use std::collections::HashSet;

use domain::{
    StorageFailure,
    ports::{
        SchemaStore,
        engine::{Read, Space, SpaceKind},
    },
};

use super::Findings;
use crate::{Store, partition::Partition, rows::text_in, schedule::Waiting};

/// Each event that waits stands in the schedule, at its place, and each place has its event.
pub(super) async fn check_schedule(
    partition: Partition<'_>,
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    let kinds = [SpaceKind::ScheduleOrder, SpaceKind::Scheduled];
    let mut found = partition.get(&kinds.map(|kind| Read::all(Space::of(kind)))).await?;
    let (places, events) = (found.range(), found.range());
    let mut placed = HashSet::new();
    let mut ids = HashSet::new();
    for (key, _) in &places {
        let Some(id) = findings.readable(Waiting::id_at(key))? else { continue };
        placed.insert(key.clone());
        ids.insert(id);
    }
    let (mut waiting, mut unreadable) = (HashSet::new(), HashSet::new());
    let mut own_places = HashSet::new();
    for (key, value) in &events {
        let Some(id) = findings.readable(text_in(key))? else { continue };
        match Waiting::read(&id, value) {
            Ok(event) => {
                if event.scheduled.event.id() != id {
                    findings.add(format!("what waits as the event {id:?} is another"));
                } else if !placed.contains(&event.key()) && !ids.contains(&id) {
                    findings.add(format!("the event {id:?} waits, and the schedule does not name it"));
                }
                own_places.insert(event.key());
                waiting.insert(id);
            }
            Err(StorageFailure::Corrupt(_)) => {
                findings.add(format!("the scheduled event {id:?} is damaged"));
                unreadable.insert(id);
            }
            Err(failure) => return Err(failure),
        }
    }
    for (key, _) in &places {
        let Ok(id) = Waiting::id_at(key) else { continue };
        if unreadable.contains(&id) {
            continue;
        }
        if !waiting.contains(&id) {
            findings.add(format!("the schedule names the event {id:?}, which does not wait"));
        } else if !own_places.contains(key) {
            findings.add(format!("the schedule names the event {id:?} at a place that is not its own"));
        }
    }
    Ok(())
}

/// Each replay can be read and is listed; what batches left belongs to a replay.
pub(super) async fn check_replays(
    partition: Partition<'_>,
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    partition.check_replays(findings).await
}

/// Every schema has its file.
pub(super) async fn check_schemas(store: &Store, findings: &mut Findings) -> Result<(), StorageFailure> {
    findings.readable(store.list_schemas().await.map(drop)).map(drop)
}
