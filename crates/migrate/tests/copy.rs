//! Copies from one store of this project into another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{sync::Arc, time::Duration};

use domain::{
    Checkpoint, Document, Event, Limits, OrderingRule, RetentionRule,
    group::GroupSpec,
    ports::{
        AppendOutcome, Atomicity, CheckpointStore, Describes, EventStore, GroupHolds, SchemaRecord,
        SchemaStore, Stores, SystemClock, TrimRequest,
    },
};
use event_replay_migrate::{MigrateError, Options, Report, copy};
use storage_memory::MemoryEngine;
use store::Store;
use support::*;

fn memory() -> Store {
    Store::new(MemoryEngine::new(Arc::new(SystemClock)))
}

async fn copied(source: &dyn Stores, target: &dyn Stores) -> Report {
    copy(source, target, &Options::default(), &|_, _, _| {}).await.unwrap()
}

fn ours(old: &OldEvent) -> Event {
    let event = Document::parse(old.json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
    let key = OrderingRule { members: vec!["courseId".to_owned()] }.resolve(&event, None);
    event.with_key_source(key)
}

async fn mark_at(store: &dyn Stores, name: &str, sequence: u64) -> Checkpoint {
    let mut mark = store.head().await.unwrap();
    mark.sequences = vec![sequence];
    let checkpoint = Checkpoint {
        id: format!("id-of-{name}"),
        name: name.to_owned(),
        mark,
        last_processed_event_id: format!("e{sequence}"),
        event_count: sequence,
        metadata: serde_json::Map::from_iter([("why".to_owned(), "test".into())]),
        created_at: "2024-02-02T00:00:00Z".parse().unwrap(),
        hold: name.starts_with("hold"),
    };
    store.save_checkpoint(checkpoint.clone(), false).await.unwrap();
    checkpoint
}

fn schema(document: &str) -> SchemaRecord {
    SchemaRecord {
        event_type: "t".to_owned(),
        event_version: None,
        document: document.to_owned(),
        pointer: String::new(),
        describes: Describes::Event,
        added_at: "2024-02-02T00:00:00Z".parse().unwrap(),
    }
}

/// A store with events, replay counts, checkpoints, a schema and a group. Some events are erased, so its positions have
/// gaps.
async fn prepared(store: &dyn Stores, count: u64) -> Vec<Event> {
    let events: Vec<Event> = support::events(count).iter().map(ours).collect();
    for batch in events.chunks(500) {
        let outcomes = store.append(batch, Atomicity::Each).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))));
    }
    store.erase(&domain::Entity::new("user", "user-123")).await.unwrap();
    let left = all(store).await;
    let positions: Vec<_> = left.iter().map(|stored| stored.position).collect();
    for at in 0..3 {
        let replayed = format!("2024-03-01T00:00:0{at}Z").parse().unwrap();
        store.record_replayed(&positions[at * 10..100], replayed).await.unwrap();
    }
    let head = store.head().await.unwrap().sequence(0);
    for (name, sequence) in [("start", 0), ("middle", head / 2), ("hold-end", head)] {
        mark_at(store, name, sequence).await;
    }
    store.put_schema(schema("{}")).await.unwrap();
    let spec = GroupSpec::new("mail");
    store.create_group(&spec, &store.head().await.unwrap()).await.unwrap();
    left.into_iter().map(|stored| stored.event).collect()
}

async fn check_copied(source: &dyn Stores, target: &dyn Stores) {
    let (old, new) = (all(source).await, all(target).await);
    assert_eq!(ids(&new), ids(&old));
    for (old, new) in old.iter().zip(&new) {
        assert_eq!(new.event.json(), old.event.json());
        assert_eq!(new.event.ordering_key(), old.event.ordering_key());
        assert_eq!((new.replay_count, new.last_replay_at), (old.replay_count, old.last_replay_at));
    }
    let (marks, new_marks) =
        (source.list_checkpoints().await.unwrap(), target.list_checkpoints().await.unwrap());
    assert_eq!(new_marks.len(), marks.len());
    for old in marks {
        let new = target.find_checkpoint(&old.name).await.unwrap().unwrap();
        assert_eq!(
            ids(&after(target, Some(new.mark.clone())).await),
            ids(&after(source, Some(old.mark.clone())).await)
        );
        let event_count = new.event_count;
        assert_eq!(
            event_count as usize + after(target, Some(new.mark.clone())).await.len(),
            ids(&all(target).await).len()
        );
        assert_eq!(new, Checkpoint { mark: new.mark.clone(), event_count, ..old });
    }
    assert_eq!(target.list_schemas().await.unwrap(), source.list_schemas().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_copied_between_backends_and_a_second_run_copies_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, target) = (sqlite(&folder).await, memory());
    let left = prepared(&file, wanted(3000)).await;
    let report = copied(&file, &target).await;
    assert_eq!((report.found, report.stored), (left.len() as u64, left.len() as u64), "{report:?}");
    assert_eq!((report.checkpoints.made, report.schemas.unwrap().added), (3, 1));
    assert_eq!((report.total_problems, report.total_differences, report.complete), (0, 0, true));
    assert!(report.indexes.iter().all(|tally| tally.keys > 0 && tally.equal == tally.keys));
    assert_eq!(report.stays_behind.unwrap().groups, 1);
    check_copied(&file, &target).await;
    let again = copied(&file, &target).await;
    assert!(!again.changes_anything() && again.complete, "{again:?}");
    assert_eq!(again.replay_counts.replayed, 100);
    check_copied(&file, &target).await;

    // The second copy goes back into a file.
    let folder = tempfile::tempdir().unwrap();
    let back = sqlite(&folder).await;
    assert!(copied(&target, &back).await.complete);
    check_copied(&file, &back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_ended_anywhere_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (memory(), sqlite(&folder).await);
    prepared(&source, 2000).await;
    let mut aborted = 0;
    for round in 0..6 {
        let task = tokio::spawn({
            let (source, target) = (source.clone(), target.clone());
            async move { copied(&source, &target).await }
        });
        tokio::time::sleep(Duration::from_millis(fastrand::u64(1..(20 << round)))).await;
        task.abort();
        aborted += u64::from(task.await.is_err());
    }
    assert!(aborted > 0, "no run was ended early");
    assert!(copied(&source, &target).await.complete);
    check_copied(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_not_copied_into_itself() {
    let store = memory();
    let refused = copy(&store, &store.clone(), &Options::default(), &|_, _, _| {}).await;
    assert_eq!(refused, Err(MigrateError::SameStore));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_changes_nothing_and_counts_the_same() {
    let (source, target) = (memory(), memory());
    prepared(&source, 500).await;
    let dry = Options { dry_run: true, ..Options::default() };
    let would = copy(&source, &target, &dry, &|_, _, _| {}).await.unwrap();
    assert_eq!((all(&target).await.len(), target.list_checkpoints().await.unwrap().len()), (0, 0));
    assert_eq!(target.list_schemas().await.unwrap(), []);
    let did = copied(&source, &target).await;
    assert_eq!(
        (would.stored, would.replay_counts, would.checkpoints, would.schemas),
        (did.stored, did.replay_counts, did.checkpoints, did.schemas)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_target_has_otherwise_stays_so_and_a_trimmed_mark_is_told() {
    let (source, target) = (memory(), memory());
    let left = prepared(&source, 500).await;
    let first = &left[0];
    let other = first.json().replacen("\"metadata\":{", "\"metadata\":{\"x\":1,", 1).replacen(",}", "}", 1);
    assert_ne!(other, first.json());
    let other = Document::parse(other.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
    target.append(&[other], Atomicity::Each).await.unwrap();
    target.put_schema(schema("{\"type\":\"object\"}")).await.unwrap();
    mark_at(&target, "middle", 0).await;
    let mut renamed = target.find_checkpoint("middle").await.unwrap().unwrap();
    target.delete_checkpoint("middle").await.unwrap();
    renamed.id = "ours".to_owned();
    target.save_checkpoint(renamed, false).await.unwrap();

    let report = copied(&source, &target).await;
    assert_eq!((report.conflicts, report.schemas.unwrap().conflicts, report.complete), (1, 1, false));
    let reasons: Vec<_> = report.problems.iter().map(|told| (told.what, told.reason)).collect();
    assert_eq!(reasons, [("schema", "conflict"), ("event", "conflict"), ("checkpoint", "renamed")]);
    assert!(target.find_checkpoint("id-of-middle").await.unwrap().is_some());

    let trim = TrimRequest {
        rule: RetentionRule { max_events: Some(100), ..RetentionRule::default() },
        holds: Vec::new(),
        limit: 10_000,
        dry_run: false,
        groups: GroupHolds { forgotten_after: Duration::ZERO, max_hold: None },
    };
    assert!(source.trim(&trim).await.unwrap().events > 0);
    let fresh = memory();
    let report = copied(&source, &fresh).await;
    let told: Vec<_> = report.problems.iter().map(|told| (told.id.as_str(), told.reason)).collect();
    assert!(told.contains(&("start", "mark")), "{told:?}");
    assert_eq!(all(&fresh).await.len(), 100);
}
