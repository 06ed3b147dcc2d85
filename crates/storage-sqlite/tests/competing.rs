//! Several handles and processes at the same time, in cases that depend on their order: restore, erasure, and creation
//! of the file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::time::Duration;

use domain::{
    Entity, StorageFailure,
    ports::{AppendOutcome, Atomicity, EventStore},
};
use event_replay_storage_sqlite::SqliteOptions;
use rusqlite::Connection;
use support::{SqliteStore, append, event, many, options, read_all, store};
use tempfile::TempDir;

/// Returns a connection with an open read transaction, as a long-running reader has.
fn reader(folder: &TempDir) -> Connection {
    let reader = Connection::open(folder.path().join("events.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    reader.query_row("SELECT count(*) FROM event", [], |_| Ok(())).unwrap();
    reader
}

fn has(folder: &TempDir, word: &str) -> bool {
    ["events.db", "events.db-wal"].iter().any(|name| {
        let bytes = std::fs::read(folder.path().join(name)).unwrap_or_default();
        bytes.windows(word.len()).any(|window| window == word.as_bytes())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_make_the_file_at_once() {
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let mut makers = tokio::task::JoinSet::new();
        for maker in 0..8 {
            let options = options(&folder);
            makers.spawn(async move {
                let store = SqliteStore::create(options).await.unwrap();
                append(&store, &[event(&format!("e{maker}"), "u", "")]).await;
            });
        }
        while let Some(made) = makers.join_next().await {
            made.unwrap();
        }
        assert_eq!(read_all(&store(&folder).await).await.unwrap().len(), 8);
    }
}

/// A process that opens the store during its replacement gets the old store, the new store, or a refusal. It never gets
/// a mixture. The restored store contains every event that was answered on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_locked_while_a_backup_takes_its_place() {
    for round in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let original = store(&folder).await;
        append(&original, &many(3000)).await;
        let backup = folder.path().join("backup");
        original.backup_to(&backup).await.unwrap();
        append(&original, &many(4000)).await;
        original.close().await;
        let restoring =
            tokio::spawn(SqliteStore::restore(options(&folder), &*Box::leak(backup.into_boxed_path()), true));
        tokio::time::sleep(Duration::from_millis(round * 7)).await;
        let late = match SqliteStore::open(options(&folder)).await {
            Ok(other) => other.append(&[event("late", "u", "")], Atomicity::Each).await.ok(),
            Err(_) => None,
        };
        let restored = restoring.await.unwrap();
        let now = store(&folder).await;
        assert_eq!(now.verify(None).await.unwrap().findings, [], "round {round}");
        let ids = read_all(&now).await.unwrap();
        match restored {
            // Processes that opened the file before the lock prevent the restore. Later processes open the restored
            // store.
            Ok(_) => assert!(ids.len() == 3000 + usize::from(late.is_some()), "round {round}: {}", ids.len()),
            Err(StorageFailure::Denied(_)) => assert!(ids.len() >= 4000, "round {round}: {}", ids.len()),
            Err(other) => panic!("round {round}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_log_that_was_left_over_is_not_taken_for_the_restored_stores() {
    let folder = tempfile::tempdir().unwrap();
    let original = store(&folder).await;
    append(&original, &many(100)).await;
    let backup = folder.path().join("backup");
    original.backup_to(&backup).await.unwrap();
    append(&original, &many(3000)).await;
    let log = std::fs::read(folder.path().join("events.db-wal")).unwrap();
    original.close().await;
    std::fs::remove_file(folder.path().join("events.db")).unwrap();
    std::fs::write(folder.path().join("events.db-wal"), log).unwrap();
    let refusal = SqliteStore::restore(options(&folder), &backup, false).await.err();
    assert!(matches!(refusal, Some(StorageFailure::Denied(_))), "{refusal:?}");
    SqliteStore::restore(options(&folder), &backup, true).await.unwrap();
    let restored = store(&folder).await;
    assert_eq!(read_all(&restored).await.unwrap().len(), 100);
    assert_eq!(restored.verify(None).await.unwrap().findings, []);
}

#[tokio::test]
async fn a_damaged_store_is_replaced_by_its_backup_and_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let original = store(&folder).await;
    append(&original, &many(700)).await;
    let backup = folder.path().join("backup");
    original.backup_to(&backup).await.unwrap();
    original.close().await;
    let path = folder.path().join("events.db");
    let whole = std::fs::read(&path).unwrap();
    let mut header = whole.clone();
    header[..100].fill(0xaa);
    let mut pages = whole.clone();
    pages[4096..16_384].fill(0xaa);
    for (n, damaged) in [header, pages, whole[..whole.len() / 2].to_vec()].into_iter().enumerate() {
        std::fs::write(&path, &damaged).unwrap();
        SqliteStore::restore(options(&folder), &backup, true).await.unwrap();
        let restored = store(&folder).await;
        assert_eq!(read_all(&restored).await.unwrap().len(), 700, "damage {n}");
        restored.close().await;
    }
    let kept = std::fs::read_dir(folder.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains(".damaged-"));
    assert!(kept.count() > 0, "nothing is thrown away");
}

#[tokio::test]
async fn what_was_erased_stays_erased_when_an_older_backup_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let original = store(&folder).await;
    append(&original, &many(10)).await;
    append(&original, &[event("secret", "victim", "SECRETSECRET")]).await;
    let backup = folder.path().join("backup");
    original.backup_to(&backup).await.unwrap();
    original.erase(&Entity::new("user", "victim")).await.unwrap();
    original.close().await;
    SqliteStore::restore(options(&folder), &backup, true).await.unwrap();
    let restored = store(&folder).await;
    assert_eq!(read_all(&restored).await.unwrap().len(), 10);
    assert_eq!(
        append(&restored, &[event("secret", "victim", "SECRETSECRET")]).await,
        [AppendOutcome::Erased]
    );
    assert_eq!(restored.verify(None).await.unwrap().findings, []);
    assert!(!has(&folder, "SECRETSECRET"));
}

/// A reader can keep old pages in the file. No other process waits for the reader. The erasure reports the remaining
/// bytes, and a second erasure removes them.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_delays_the_end_of_an_erasure_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (eraser, other) = (store(&folder).await, store(&folder).await);
    append(&eraser, &many(50)).await;
    append(&eraser, &[event("secret", "victim", "SECRETSECRET")]).await;
    let reader = reader(&folder);
    let victim = Entity::new("user", "victim");
    let erasing = tokio::spawn({
        let (eraser, victim) = (eraser.clone(), victim.clone());
        async move { eraser.erase(&victim).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    append(&other, &[event("other", "u", "")]).await;
    assert!(!erasing.is_finished(), "it still waits for the reader, and the append did not");
    let first = erasing.await.unwrap();
    assert_eq!(first.events, 1);
    assert!(first.remains.iter().any(|place| place.contains("still reads it")), "{first:?}");
    reader.execute_batch("COMMIT").unwrap();
    let second = eraser.erase(&victim).await.unwrap();
    assert_eq!((second.events, second.remains), (0, Vec::new()));
    assert!(!has(&folder, "SECRETSECRET"));
}

#[tokio::test]
async fn an_erasure_takes_damaged_events_that_the_index_knows_and_names_the_others() {
    let folder = tempfile::tempdir().unwrap();
    for (tail_events, erased) in [(1, 1), (512, 0)] {
        let options = SqliteOptions { tail_events, bulk_tail_events: tail_events, ..options(&folder) };
        let store = SqliteStore::create(options).await.unwrap();
        let id = format!("secret{tail_events}");
        append(&store, &[event(&id, "victim", "SECRETSECRET")]).await;
        let damage = "UPDATE event SET json = replace(json, 'notes', 'notez')";
        Connection::open(store.path()).unwrap().execute(damage, []).unwrap();
        let report = store.erase(&Entity::new("user", "victim")).await.unwrap();
        assert_eq!(report.events, erased, "{report:?}");
        assert_eq!(report.remains.iter().any(|place| place.contains("damaged")), erased == 0, "{report:?}");
        if erased == 1 {
            assert_eq!(append(&store, &[event(&id, "victim", "again")]).await, [AppendOutcome::Erased]);
        }
    }
}

#[tokio::test]
async fn waiting_without_an_end_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let head = store.head().await.unwrap();
    let events = many(1);
    let (waited, _) = tokio::join!(store.changed(&head, Duration::MAX), append(&store, &events));
    assert_eq!(waited.unwrap().sequence(0), 1);
}
