//! Guarantees of this adapter alone: files, other processes, backups, and the removal of erased bytes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{path::Path, sync::Arc, time::Duration};

use domain::{
    Entity, Filter, StorageFailure,
    ports::{AppendOutcome, Atomicity, EventStore, EventStoreError, ReadRequest, ReplayStore},
};
use event_replay_storage_sqlite::SqliteOptions;
use rusqlite::Connection;
use support::{SqliteStore, append, event, many, read_all, store};

#[tokio::test]
async fn what_is_no_store_is_refused_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let other_program = folder.path().join("other");
    Connection::open(&other_program).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let other_program = std::fs::read(other_program).unwrap();
    for content in [b"not a database, but long enough to be mistaken for one".repeat(100), other_program] {
        std::fs::write(&path, &content).unwrap();
        for refusal in [
            SqliteStore::create(SqliteOptions::new(&path)).await.err(),
            SqliteStore::open(SqliteOptions::new(&path)).await.err(),
            SqliteStore::open_read_only(SqliteOptions::new(&path)).await.err(),
        ] {
            assert!(matches!(refusal, Some(StorageFailure::Foreign(_))), "{refusal:?}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), content);
    }
}

#[tokio::test]
async fn a_path_without_a_store_is_an_error_to_readers_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("events.db");
    let refusal = SqliteStore::open_read_only(SqliteOptions::new(&path)).await.err();
    assert!(matches!(&refusal, Some(StorageFailure::Unavailable(_))), "{refusal:?}");
    assert!(!path.parent().unwrap().exists());
}

#[tokio::test]
async fn a_store_of_another_namespace_or_a_newer_layout_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).await.close().await;
    let path = folder.path().join("events.db");
    let staging = SqliteOptions { namespace: "staging".into(), ..SqliteOptions::new(&path) };
    assert!(matches!(SqliteStore::open(staging).await.err(), Some(StorageFailure::Foreign(_))));
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    for refusal in [
        SqliteStore::open(SqliteOptions::new(&path)).await.err(),
        SqliteStore::open_read_only(SqliteOptions::new(&path)).await.err(),
    ] {
        let Some(StorageFailure::Foreign(said)) = refusal else { panic!("{refusal:?}") };
        assert!(said.contains("newer version"), "{said}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn copies_have_the_permissions_of_what_they_copy() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    append(&store, &many(3)).await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for wanted in [0o600, 0o640, 0o644] {
        let named = |what: &str| folder.path().join(format!("{what}-{wanted:o}.db"));
        let (backup, restored) = (named("backup"), named("restored"));
        std::fs::set_permissions(store.path(), std::fs::Permissions::from_mode(wanted)).unwrap();
        store.backup_to(&backup).await.unwrap();
        assert_eq!(mode(&backup), wanted, "the backup of {wanted:o}");
        SqliteStore::restore(SqliteOptions::new(&restored), &backup, false).await.unwrap();
        assert_eq!(mode(&restored), wanted, "the restored store of {wanted:o}");
    }
}

#[tokio::test]
async fn what_killed_backups_left_is_removed_and_what_others_make_stays() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let part = |process: u32| folder.path().join(format!("backup.db.{process}.part"));
    let (abandoned, other) = (part(4_000_001), folder.path().join("other.db.4000001.part"));
    for left in [&abandoned, &other] {
        std::fs::write(left, "half a copy").unwrap();
    }
    std::fs::write(folder.path().join("backup.db.4000001.part-journal"), "and its journal").unwrap();
    let made = std::fs::File::create(part(4_000_002)).unwrap();
    made.lock().unwrap();
    store.backup_to(&folder.path().join("backup.db")).await.unwrap();
    let mut left: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".part"))
        .collect();
    left.sort();
    assert_eq!(left, ["backup.db.4000002.part", "other.db.4000001.part"]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_store_of_two_names_is_refused_until_one_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first.db"), folder.path().join("second.db"));
    SqliteStore::create(SqliteOptions::new(&first)).await.unwrap().close().await;
    std::fs::hard_link(&first, &second).unwrap();
    for name in [&first, &second] {
        let options = || SqliteOptions::new(name);
        for refused in [
            SqliteStore::create(options()).await.err(),
            SqliteStore::open(options()).await.err(),
            SqliteStore::open_read_only(options()).await.err(),
        ] {
            let failure = refused.unwrap();
            assert!(
                matches!(&failure, StorageFailure::Denied(text) if text.contains("2 names")),
                "{failure}"
            );
        }
    }
    std::fs::remove_file(&second).unwrap();
    SqliteStore::open(SqliteOptions::new(&first)).await.unwrap().close().await;
}

#[tokio::test]
async fn a_store_that_was_opened_to_read_takes_no_changes() {
    let folder = tempfile::tempdir().unwrap();
    let writer = store(&folder).await;
    append(&writer, &many(3)).await;
    let reader = SqliteStore::open_read_only(SqliteOptions::new(writer.path())).await.unwrap();
    let refusal = reader.append(&many(4), Atomicity::Each).await;
    assert!(matches!(refusal, Err(EventStoreError::Storage(StorageFailure::Denied(_)))), "{refusal:?}");
    assert_eq!(reader.count(&Arc::new(Filter::default()), None).await.unwrap(), 3);
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_corrupt_and_nothing_worse() {
    let folder = tempfile::tempdir().unwrap();
    let whole = store(&folder).await;
    append(&whole, &many(3000)).await;
    whole.close().await;
    let path = folder.path().join("events.db");
    let bytes = std::fs::read(&path).unwrap();
    for keep in [100, 4096, 5000, bytes.len() / 2, bytes.len() - 4096] {
        std::fs::write(&path, &bytes[..keep]).unwrap();
        let failure = match SqliteStore::open_read_only(SqliteOptions::new(&path)).await {
            Err(failure) => failure,
            Ok(store) => match read_all(&store).await {
                Err(EventStoreError::Storage(failure)) => failure,
                other => panic!("cut to {keep} bytes: {other:?}"),
            },
        };
        let known = matches!(failure, StorageFailure::Corrupt(_) | StorageFailure::Foreign(_));
        assert!(known, "cut to {keep} bytes: {failure:?}");
    }
}

#[tokio::test]
async fn a_writer_waits_for_another_process_that_holds_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    append(&store, &many(1)).await;
    let other = Connection::open(store.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { append(&store, &many(2)).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "it cannot have written");
    other.execute_batch("COMMIT").unwrap();
    assert!(matches!(
        waiting.await.unwrap()[..],
        [AppendOutcome::AlreadyStored(_), AppendOutcome::Stored(_)]
    ));
}

#[tokio::test]
async fn an_erased_entity_leaves_no_byte_in_the_file() {
    const CANARY: &str = "canary-7f3a";
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    // Erased and other events alternate, so that pages are split and copied. Some events are larger than a page.
    for n in 0..700 {
        let user = if n % 3 == 0 { CANARY } else { "somebody" };
        let note = CANARY.repeat(if n % 3 == 0 { n % 900 } else { 0 });
        append(&store, &[event(&format!("{}-{n}", if n % 3 == 0 { CANARY } else { "e" }), user, &note)])
            .await;
    }
    let canaries = |path: &Path| {
        let files = [path.to_owned(), path.with_extension("db-wal")];
        files
            .iter()
            .filter_map(|file| std::fs::read(file).ok())
            .map(|bytes| occurrences(&bytes, CANARY))
            .sum::<usize>()
    };
    assert!(canaries(store.path()) > 1000, "the search must see what is there");
    let erased = store.erase(&Entity::new("user", CANARY)).await.unwrap();
    assert_eq!(erased.events, 234);
    assert_eq!(canaries(store.path()), 0);
    assert_eq!(store.count(&Arc::new(Filter::default()), None).await.unwrap(), 466);
    assert_eq!(append(&store, &[event(&format!("{CANARY}-0"), "u", "")]).await, [AppendOutcome::Erased]);
    assert_eq!(store.verify(None).await.unwrap().findings, []);
}

fn occurrences(bytes: &[u8], word: &str) -> usize {
    bytes.windows(word.len()).filter(|window| *window == word.as_bytes()).count()
}

#[tokio::test]
async fn a_closed_store_leaves_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    append(&store, &many(2000)).await;
    let other_handle = store.clone();
    read_all(&store).await.unwrap();
    store.close().await;
    let names: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["events.db"]);
    assert!(other_handle.append(&many(1), Atomicity::Each).await.is_err(), "its writer has ended");
    assert_eq!(read_all(&other_handle).await.unwrap().len(), 2000);
}

#[tokio::test]
async fn a_backup_is_a_store_and_a_restored_one_begins_a_new_history() {
    let folder = tempfile::tempdir().unwrap();
    let original = store(&folder).await;
    append(&original, &many(600)).await;
    let kept = original.head().await.unwrap();
    let backup = folder.path().join("backup.db");
    assert!(original.backup_to(&backup).await.unwrap() > 0);
    assert!(matches!(original.backup_to(&backup).await, Err(StorageFailure::Denied(_))), "never over a file");
    // The restore loses events that were appended after the backup.
    append(&original, &[event("late", "u", "")]).await;
    let lost = original.head().await.unwrap();
    let options = || SqliteOptions::new(folder.path().join("events.db"));
    let in_use = SqliteStore::restore(options(), &backup, true).await.err();
    assert!(matches!(in_use, Some(StorageFailure::Denied(_))), "{in_use:?}");
    original.close().await;
    let taken = SqliteStore::restore(options(), &backup, false).await.err();
    assert!(matches!(taken, Some(StorageFailure::Denied(_))), "{taken:?}");
    SqliteStore::restore(options(), &backup, true).await.unwrap();

    let restored = store(&folder).await;
    assert_eq!(read_all(&restored).await.unwrap().len(), 600);
    let AppendOutcome::Stored(next) = append(&restored, &[event("new", "u", "")]).await[0] else { panic!() };
    assert!(next.sequence > lost.sequence(0), "{next} was handed out before the restore");
    let after = |cursor| ReadRequest { after: Some(cursor), ..ReadRequest::new(Filter::default(), 10) };
    let page = restored.read(&after(kept)).await.unwrap();
    assert_eq!(page.events.iter().map(|stored| stored.event.id()).collect::<Vec<_>>(), ["new"]);
    let refusal = restored.read(&after(lost)).await.err();
    assert!(matches!(refusal, Some(EventStoreError::LostCursor(_))), "{refusal:?}");
    assert_eq!(restored.verify(None).await.unwrap().findings, []);
    append(&restored, &many(1300)[600..]).await;
    assert_eq!(restored.verify(None).await.unwrap().findings, []);
    assert_eq!(restored.count(&Arc::new(Filter::default()), None).await.unwrap(), 1301);
}

#[tokio::test]
async fn a_damaged_or_foreign_backup_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let original = store(&folder).await;
    append(&original, &many(600)).await;
    let backup = folder.path().join("backup.db");
    original.backup_to(&backup).await.unwrap();
    original.close().await;
    let mut bytes = std::fs::read(&backup).unwrap();
    bytes.truncate(bytes.len() / 2);
    let options = || SqliteOptions::new(folder.path().join("events.db"));
    for content in [bytes, b"nonsense".repeat(1000), Vec::new()] {
        std::fs::write(&backup, content).unwrap();
        assert!(SqliteStore::restore(options(), &backup, true).await.is_err());
        assert_eq!(read_all(&store(&folder).await).await.unwrap().len(), 600);
    }
}

#[tokio::test]
async fn verification_finds_every_fault_in_the_index() {
    for (fault, sql) in [
        ("a run lost", "DELETE FROM posting WHERE kind = 2"),
        ("an entry too many", "INSERT INTO posting VALUES (1, 'no.such.type', 5, 1, NULL)"),
        ("an entry past the log", "INSERT INTO posting VALUES (1, 'note.made', 99999, 1, NULL)"),
        ("a run cut short", "UPDATE posting SET rest = substr(rest, 1, 3) WHERE kind = 1"),
        ("an id lost", "DELETE FROM event_id WHERE seq = 7"),
        ("an id too many", "INSERT INTO event_id VALUES ('stray', 7)"),
        ("an event lost", "DELETE FROM event WHERE seq = 7"),
        ("a counter off", "UPDATE state SET events = events + 1"),
        ("a timestamp off", "UPDATE event SET at = at + 1 WHERE seq = 7"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        let options = SqliteOptions { bulk_tail_events: 1, ..SqliteOptions::new(path) };
        let store = SqliteStore::create(options).await.unwrap();
        append(&store, &many(700)).await;
        assert_eq!(store.verify(None).await.unwrap().total_findings, 0);
        assert!(Connection::open(store.path()).unwrap().execute(sql, []).unwrap() > 0, "{fault}");
        assert!(store.verify(None).await.unwrap().total_findings > 0, "{fault} was not found");
    }
}

#[tokio::test]
async fn the_index_catches_up_after_a_bulk_of_events_and_when_the_store_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let indexed = |store: &SqliteStore| {
        let connection = Connection::open(store.path()).unwrap();
        connection.query_row("SELECT indexed FROM state", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    append(&store, &many(2000)).await;
    assert_eq!(indexed(&store), 0, "more of them may come");
    while indexed(&store) < 2000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    append(&store, &many(4000)).await;
    assert_eq!(indexed(&store), 2000);
    let path = store.path().to_owned();
    store.close().await;
    let reopened = SqliteStore::open(SqliteOptions::new(path)).await.unwrap();
    assert_eq!(indexed(&reopened), 4000);
    assert_eq!(reopened.verify(None).await.unwrap().findings, []);
}

#[tokio::test]
async fn replay_counts_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(&folder).await;
    append(&first, &many(3)).await;
    let positions: Vec<_> =
        first.get(&["e0".into(), "e2".into()]).await.unwrap().iter().map(|stored| stored.position).collect();
    first.record_replayed(&positions, jiff::Timestamp::UNIX_EPOCH).await.unwrap();
    first.close().await;
    let counts: Vec<_> = store(&folder)
        .await
        .get(&["e0".into(), "e1".into(), "e2".into()])
        .await
        .unwrap()
        .iter()
        .map(|stored| stored.replay_count)
        .collect();
    assert_eq!(counts, [1, 0, 1]);
}
