//! Laws of the checkpoint store.

use domain::{Checkpoint, Cursor, StoreId, ports::CheckpointStoreError};

use crate::{Bench, Harness};

fn checkpoint(id: &str, name: &str, second: i64) -> Checkpoint {
    let metadata = serde_json::json!({"version": "2.0.0", "wide": [1.5, null, {"ü": "\u{202e}\n"}]});
    Checkpoint {
        id: id.to_owned(),
        name: name.to_owned(),
        mark: Cursor::new(StoreId(u64::MAX), 1, vec![u64::MAX]),
        last_processed_event_id: "event:{456}*".to_owned(),
        event_count: i64::MAX as u64,
        metadata: metadata.as_object().cloned().unwrap(),
        created_at: jiff::Timestamp::from_second(1_700_000_000 + second).unwrap(),
        hold: second % 2 == 0,
    }
}

async fn save(bench: &Bench, checkpoint: &Checkpoint, replace: bool) -> Result<(), CheckpointStoreError> {
    bench.store.save_checkpoint(checkpoint.clone(), replace).await
}

/// Every handle reads each member of a checkpoint exactly as it was saved, by name and by id.
pub async fn a_checkpoint_comes_back_as_it_was_saved(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for name in ["before-migration", "a:b {c}*?[\\\r\n\u{1b}", "ü", "'"] {
        let saved = checkpoint(&format!("id of {name}"), name, name.len() as i64);
        save(&bench, &saved, false).await.unwrap();
        let other = bench.storage.open().await;
        assert_eq!(other.find_checkpoint(name).await.unwrap().as_ref(), Some(&saved));
        assert_eq!(other.find_checkpoint(&saved.id).await.unwrap(), Some(saved));
    }
    for absent in ["", "before", "BEFORE-MIGRATION", "%"] {
        assert_eq!(bench.store.find_checkpoint(absent).await.unwrap(), None, "{absent:?}");
    }
}

/// Without `replace`, an existing name is refused, and nothing changes.
pub async fn checkpoint_names_are_unique(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let first = checkpoint("1", "name", 1);
    save(&bench, &first, false).await.unwrap();
    let refusal = save(&bench, &checkpoint("2", "name", 2), false).await;
    assert_eq!(refusal, Err(CheckpointStoreError::NameTaken("name".to_owned())));
    assert_eq!(bench.store.list_checkpoints().await.unwrap(), [first]);
    assert_eq!(bench.store.find_checkpoint("2").await.unwrap(), None);
}

/// With `replace`, the new checkpoint replaces the checkpoint of the same name, including its id. If the name is new,
/// the checkpoint is added.
pub async fn replacing_exchanges_a_checkpoint(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let (first, other, second) =
        (checkpoint("1", "name", 1), checkpoint("3", "other", 3), checkpoint("2", "name", 5));
    save(&bench, &first, true).await.unwrap();
    save(&bench, &other, true).await.unwrap();
    save(&bench, &second, true).await.unwrap();
    assert_eq!(bench.store.list_checkpoints().await.unwrap(), [other, second]);
    assert_eq!(bench.store.find_checkpoint("1").await.unwrap(), None);
}

/// If the name of one checkpoint is the id of another, the name takes precedence.
pub async fn a_checkpoint_is_found_by_name_before_id(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let (by_id, by_name) = (checkpoint("x", "first", 1), checkpoint("y", "x", 2));
    save(&bench, &by_id, false).await.unwrap();
    save(&bench, &by_name, false).await.unwrap();
    assert_eq!(bench.store.find_checkpoint("x").await.unwrap(), Some(by_name));
    assert!(bench.store.delete_checkpoint("x").await.unwrap());
    assert_eq!(bench.store.find_checkpoint("x").await.unwrap().as_ref(), Some(&by_id));
    assert_eq!(bench.store.list_checkpoints().await.unwrap(), [by_id]);
}

/// The list contains all checkpoints by creation time. The order of saving and of names does not matter.
pub async fn checkpoints_are_listed_oldest_first(h: &impl Harness) {
    let bench = Bench::new(h).await;
    assert_eq!(bench.store.list_checkpoints().await.unwrap(), []);
    for (name, second) in [("m", 3), ("z", 1), ("a", 2)] {
        save(&bench, &checkpoint(name, name, second), false).await.unwrap();
    }
    let listed = bench.store.list_checkpoints().await.unwrap();
    let names: Vec<_> = listed.iter().map(|checkpoint| checkpoint.name.as_str()).collect();
    assert_eq!(names, ["z", "a", "m"]);
}

/// A checkpoint is deleted by its name or its id. The call returns false if no such checkpoint exists.
pub async fn deleting_a_checkpoint_leaves_the_others(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for n in 0..3 {
        save(&bench, &checkpoint(&format!("id{n}"), &format!("name{n}"), n), false).await.unwrap();
    }
    assert!(!bench.store.delete_checkpoint("name").await.unwrap());
    assert!(bench.store.delete_checkpoint("name0").await.unwrap());
    assert!(!bench.store.delete_checkpoint("id0").await.unwrap());
    assert!(bench.store.delete_checkpoint("id1").await.unwrap());
    assert_eq!(bench.store.list_checkpoints().await.unwrap(), [checkpoint("id2", "name2", 2)]);
}

/// The time of a checkpoint keeps its nanoseconds, before the Unix epoch as well as after it.
pub async fn a_checkpoints_time_comes_back_to_the_nanosecond(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for (n, time) in
        ["2024-06-01T12:00:00.123456789Z", "2024-06-01T12:00:00.000000001Z", "1969-12-31T23:59:59.999999999Z"]
            .into_iter()
            .enumerate()
    {
        let created_at = time.parse().unwrap();
        let saved = Checkpoint { created_at, ..checkpoint(&format!("id {n}"), &format!("name {n}"), 1) };
        save(&bench, &saved, false).await.unwrap();
        let other = bench.storage.open().await;
        assert_eq!(other.find_checkpoint(&saved.name).await.unwrap(), Some(saved), "{time}");
    }
}

/// The list is sorted by creation time to the nanosecond, and then by id. The order of saving and of names does not
/// matter.
pub async fn checkpoints_of_one_instant_are_listed_by_id(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let noon: jiff::Timestamp = "2024-06-01T12:00:00Z".parse().unwrap();
    let made = |id: &str, name: &str, nanoseconds: i64| Checkpoint {
        created_at: noon + jiff::SignedDuration::from_nanos(nanoseconds),
        ..checkpoint(id, name, 1)
    };
    let saved = [
        made("c", "1", 0),
        made("a", "3", 0),
        made("z", "9", -1),
        made("B", "4", 0),
        made("b", "2", 0),
        made("0", "0", 1),
        made("y", "5", 2),
    ];
    for checkpoint in &saved {
        save(&bench, checkpoint, false).await.unwrap();
    }
    let listed = bench.storage.open().await.list_checkpoints().await.unwrap();
    let ids: Vec<&str> = listed.iter().map(|checkpoint| checkpoint.id.as_str()).collect();
    assert_eq!(ids, ["z", "B", "a", "b", "c", "0", "y"]);
}
