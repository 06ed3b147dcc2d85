//! Data of a store beside events, under unusual names: groups with their content, checkpoints, schemas, scheduled
//! events and replays. Each object is found under its own name with its own content. Changes to objects with
//! other names have no effect on it.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Checkpoint, Cursor, Document, Filter, Limits, Position,
    dead_letter::{Failure, NewDeadLetter, fingerprint},
    group::{BlockedKey, GroupSpec, Key},
    ports::{
        CommitOutcome, DeadLetterQuery, Describes, LeaseRequest, ReadRequest, ReplayRecord, ReplayState,
        ScheduleOutcome, SchemaRecord, SegmentCommit, Stores,
    },
};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::odd;

fn at(head: &Cursor, sequence: u64) -> Cursor {
    Cursor { sequences: vec![sequence], ..head.clone() }
}

/// The content of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    cursor: u64,
    consumer: String,
    blocked: BTreeSet<(Key, u64)>,
    letter: u64,
}

async fn kept(store: &dyn Stores, name: &str) -> Option<Kept> {
    let status = store.group(name).await.unwrap()?;
    assert_eq!((status.record.spec.name.as_str(), status.consumers.len()), (name, 1));
    let query = DeadLetterQuery { group: Some(name.to_owned()), limit: 100, ..DeadLetterQuery::default() };
    let letters = store.dead_letters(&query).await.unwrap();
    assert_eq!(letters.len(), 1, "{name:?}");
    let blocked = store.blocked_keys(name, 100).await.unwrap();
    Some(Kept {
        cursor: status.segments[0].cursor,
        consumer: status.consumers[0].name.clone(),
        blocked: blocked.into_iter().map(|(_, row)| (row.key, row.position)).collect(),
        letter: letters[0].position.sequence,
    })
}

/// Creates a group with this name, a consumer, a ledger and a dead letter.
async fn make_group(store: &dyn Stores, name: &str, wanted: &Kept, head: &Cursor) {
    let spec = GroupSpec { segments: 1, ..GroupSpec::new(name) };
    store.create_group(&spec, &at(head, 0)).await.unwrap();
    let request = LeaseRequest {
        group: name.to_owned(),
        consumer: wanted.consumer.clone(),
        token: 7,
        duration: std::time::Duration::from_secs(600),
    };
    let lease = store.lease(&request).await.unwrap().held.remove(0);
    let now = Timestamp::now();
    let rows = wanted.blocked.iter().map(|(key, position)| BlockedKey {
        key: key.clone(),
        position: *position,
        through: *position,
        claimed_to: *position,
        attempts: 1,
        ends: 0,
        due: Some(now),
        error: name.to_owned(),
        failures: Vec::new(),
        since: now,
    });
    let letter = NewDeadLetter {
        position: Position::new(0, wanted.letter),
        attempts: 1,
        failure: Failure { at: now, errors: vec![name.to_owned()] },
        fingerprint: fingerprint(name, name),
        earlier: Vec::new(),
        replay_id: None,
        parked: false,
    };
    let commit = SegmentCommit {
        blocked: rows.collect(),
        dead_letters: vec![letter],
        ..SegmentCommit::new(lease, wanted.cursor, wanted.cursor)
    };
    assert_eq!(store.commit(&[commit]).await.unwrap(), [CommitOutcome::Committed]);
}

pub(crate) async fn check_groups(store: &dyn Stores, random: &mut fastrand::Rng) {
    let head = store.head().await.unwrap();
    let page = store.read(&ReadRequest::new(Filter::default(), 1000)).await.unwrap();
    let places: Vec<u64> = page.events.iter().map(|stored| stored.position.sequence).collect();
    let names = odd::names(random, 24);
    let pairs = odd::pairs(random, &names, 30);
    let mut all: BTreeMap<String, Kept> = BTreeMap::new();
    for name in &names {
        let keys: BTreeSet<Key> = (0..4)
            .map(|_| random.choice(&pairs).unwrap())
            .map(|(kind, id)| Key::new(&**kind, &**id))
            .collect();
        let cursor = *random.choice(&places).unwrap();
        let wanted = Kept {
            cursor,
            consumer: random.choice(&names).cloned().unwrap(),
            blocked: keys.into_iter().map(|key| (key, *random.choice(&places).unwrap())).collect(),
            letter: *random.choice(&places).unwrap(),
        };
        make_group(store, name, &wanted, &head).await;
        all.insert(name.clone(), wanted);
    }
    for name in &names {
        assert_eq!(kept(store, name).await.as_ref(), all.get(name), "{name:?}");
        if random.bool() {
            assert!(store.delete_group(name).await.unwrap());
            all.remove(name);
        }
    }
    let listed: Vec<String> =
        store.groups().await.unwrap().into_iter().map(|record| record.spec.name).collect();
    assert!(listed.iter().eq(all.keys()), "{listed:?}");
    for name in &names {
        assert_eq!(kept(store, name).await.as_ref(), all.get(name), "{name:?}, after others were deleted");
    }
}

pub(crate) async fn check_marks_and_schemas(store: &dyn Stores, random: &mut fastrand::Rng) {
    let head = store.head().await.unwrap();
    let names = odd::names(random, 40);
    let now: Timestamp = "2024-01-15T10:30:00Z".parse().unwrap();
    let mut marks = BTreeMap::new();
    for (number, name) in names.iter().enumerate() {
        let checkpoint = Checkpoint {
            id: format!("id {number}"),
            name: name.clone(),
            mark: at(&head, number as u64),
            last_processed_event_id: name.clone(),
            event_count: number as u64,
            metadata: [(name.clone(), Value::from(number))].into_iter().collect(),
            created_at: now,
            hold: false,
        };
        store.save_checkpoint(checkpoint.clone(), false).await.unwrap();
        marks.insert(name.clone(), checkpoint);
    }
    let mut schemas = BTreeMap::new();
    for (event_type, version) in odd::pairs(random, &names, 30) {
        let version = random.bool().then_some(version);
        let record = SchemaRecord {
            event_type: event_type.clone(),
            event_version: version.clone(),
            document: json!({"title": [event_type, version]}).to_string(),
            pointer: String::new(),
            describes: Describes::Event,
            added_at: now,
        };
        store.put_schema(record.clone()).await.unwrap();
        schemas.insert((event_type, version), record);
    }
    for name in &names {
        assert_eq!(store.find_checkpoint(name).await.unwrap().as_ref(), marks.get(name), "{name:?}");
        if random.bool() {
            assert!(store.delete_checkpoint(name).await.unwrap());
            marks.remove(name);
        }
    }
    let gone: Vec<_> = schemas.keys().filter(|_| random.bool()).cloned().collect();
    for (event_type, version) in gone {
        assert!(store.remove_schema(&event_type, version.as_deref()).await.unwrap());
        schemas.remove(&(event_type, version));
    }
    for name in &names {
        assert_eq!(store.find_checkpoint(name).await.unwrap().as_ref(), marks.get(name), "{name:?}, later");
    }
    assert!(store.list_schemas().await.unwrap().iter().eq(schemas.values()));
}

pub(crate) async fn check_waiting(store: &dyn Stores, random: &mut fastrand::Rng) {
    let due = |number: usize| Timestamp::from_second(4_000_000_000 + number as i64).unwrap();
    let mut waiting = odd::names(random, 40);
    // None of the ids is in the log, because an event in the log would not be scheduled.
    waiting.iter_mut().for_each(|id| *id = format!("{}\u{2}", id.chars().take(30).collect::<String>()));
    waiting.sort();
    waiting.dedup();
    for (number, id) in waiting.iter().enumerate() {
        let json = json!({
            "id": id, "type": id, "version": "1", "timestamp": "2024-01-15T10:30:00Z", "source": id, "metadata": {},
        });
        let document = Document::parse(json.to_string().as_bytes(), &Limits::default()).unwrap();
        let outcome = store.schedule(&document.into_event().unwrap(), due(number)).await.unwrap();
        assert_eq!(outcome, ScheduleOutcome::Scheduled, "{id:?}");
    }
    for id in waiting.clone() {
        if random.bool() {
            assert!(store.cancel_scheduled(&id).await.unwrap());
            waiting.retain(|other| *other != id);
        }
    }
    let scheduled = store.scheduled(1000).await.unwrap();
    assert!(scheduled.iter().map(|waits| waits.event.id()).eq(&waiting), "{waiting:?}");
    let mut replays = BTreeMap::new();
    for id in odd::names(random, 20) {
        let record = ReplayRecord {
            id: id.clone(),
            // A replay can be deleted only after it is finished.
            state: ReplayState::Completed,
            created_at: due(0),
            updated_at: due(0),
            plan: id.clone(),
            progress: id.clone(),
            steering: Some(id.clone()),
            hold: None,
        };
        store.create_replay(&record).await.unwrap();
        replays.insert(id, record);
    }
    for id in replays.keys().cloned().collect::<Vec<_>>() {
        assert_eq!(store.find_replay(&id).await.unwrap().as_ref(), replays.get(&id));
        if random.bool() {
            assert!(store.delete_replay(&id).await.unwrap());
            replays.remove(&id);
        }
    }
    let listed = store.list_replays(1000).await.unwrap();
    assert!(listed.iter().map(|record| &record.id).collect::<BTreeSet<_>>().into_iter().eq(replays.keys()));
}
