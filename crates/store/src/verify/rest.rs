//! Checks the rows of the schedule, replays, schemas, tokens, kept plans and requests.

use std::collections::HashSet;

use domain::{
    StorageFailure,
    ports::{
        PlanStore, SchemaStore, TokenStore,
        engine::{Space, SpaceKind},
    },
};

use super::Findings;
use crate::{
    Store,
    partition::Partition,
    replays::record::ReplayRow,
    requests,
    rows::{text_in, time_key, value_at},
    schedule::rows::Waiting,
};

/// Checks that each waiting event has its place in the schedule, and that each place has its event.
pub(super) async fn check_schedule(
    partition: Partition<'_>,
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    let kinds = [SpaceKind::ScheduleOrder, SpaceKind::Scheduled];
    let mut found = partition.all_of(kinds.map(Space::of)).await?;
    let (places, events) = (found.range(), found.range());
    let named = findings.read_all(&places, |key, _| Ok((key.to_vec(), Waiting::id_at(key)?)))?;
    let ids: HashSet<&String> = named.iter().map(|(_, id)| id).collect();
    let (mut waiting, mut unreadable) = (HashSet::new(), HashSet::new());
    let mut own_places = HashSet::new();
    for (key, value) in &events {
        let Some(id) = findings.readable(text_in(key))? else { continue };
        match Waiting::read(&id, value) {
            Ok(event) => {
                if event.scheduled.event.id() != id {
                    findings.add(format!("the scheduled event {id:?} is stored as another"));
                } else if !ids.contains(&id) {
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
    for (key, id) in named.iter().filter(|(_, id)| !unreadable.contains(id)) {
        if !waiting.contains(id) {
            findings.add(format!("the schedule names the event {id:?}, which does not wait"));
        } else if !own_places.contains(key) {
            findings.add(format!("the schedule names the event {id:?} at a place that is not its own"));
        }
    }
    Ok(())
}

/// Checks that each replay can be read, has a plan, and is listed in the indexes.
pub(super) async fn check_replays(
    partition: Partition<'_>,
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    let kinds = [SpaceKind::Replay, SpaceKind::ReplayPlan, SpaceKind::ReplayOrder, SpaceKind::OpenReplay];
    let mut found = partition.all_of(kinds.map(Space::of)).await?;
    let (rows, plans) = (found.range(), found.range());
    let [listed, open] = [found.range(), found.range()]
        .map(|rows| rows.into_iter().map(|(key, _)| key).collect::<HashSet<Vec<u8>>>());
    for (key, value) in rows {
        let Some(id) = findings.readable(text_in(&key))? else { continue };
        let Some(row) = findings.readable(ReplayRow::read(&id, &value))? else { continue };
        if value_at(&plans, &key).is_none() {
            findings.add(format!("the replay {id} has no plan"));
        }
        let place = time_key(row.created, &id);
        if !listed.contains(&place) {
            findings.add(format!("the replay {id} is not on the list of all"));
        }
        if open.contains(&place) == row.state.is_final() {
            findings.add(format!("the list of replays that are not over is wrong about {id}"));
        }
    }
    Ok(())
}

/// Checks that every schema has its file.
pub(super) async fn check_schemas(store: &Store, findings: &mut Findings) -> Result<(), StorageFailure> {
    findings.readable(store.list_schemas().await.map(drop)).map(drop)
}

/// Checks that every token can be read.
pub(super) async fn check_tokens(store: &Store, findings: &mut Findings) -> Result<(), StorageFailure> {
    findings.readable(store.list_tokens().await.map(drop)).map(drop)
}

/// Checks that every kept plan can be read, and has its document.
pub(super) async fn check_plans(store: &Store, findings: &mut Findings) -> Result<(), StorageFailure> {
    let Some(plans) = findings.readable(store.list_plans().await)? else { return Ok(()) };
    for plan in plans {
        if findings.readable(store.plan_document(&plan.id).await)?.flatten().is_none() {
            findings.add(format!("the plan {} has no document", plan.id));
        }
    }
    Ok(())
}

/// Checks that each request can be read and is in the index, and that each place of the index has its request.
pub(super) async fn check_requests(
    partition: Partition<'_>,
    findings: &mut Findings,
) -> Result<(), StorageFailure> {
    let kinds = [SpaceKind::Request, SpaceKind::RequestOrder];
    let mut found = partition.all_of(kinds.map(Space::of)).await?;
    let (rows, listed) = (found.range(), found.range());
    let mut places: HashSet<Vec<u8>> = listed.into_iter().map(|(key, _)| key).collect();
    for (key, value) in rows {
        let Some(place) = findings.readable(requests::place_of_row(key, &value))? else { continue };
        if !places.remove(&place) {
            findings.add("a request of a client is not in the index of requests");
        }
    }
    if !places.is_empty() {
        findings.add(format!("the index of requests names {} that are not there", places.len()));
    }
    Ok(())
}
