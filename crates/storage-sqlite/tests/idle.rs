//! Waiting costs nothing. Alone in its file, since it looks at the processor time of its whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

mod support;

use std::time::Duration;

use domain::ports::EventStore;
use event_replay_storage_sqlite::SqliteOptions;
use support::SqliteStore;

/// Processor time of this process, in ticks of a hundredth of a second.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A process that has written nothing is not woken by a write of its own: it polls now and then, and must not spin.
#[tokio::test]
async fn a_reader_that_waits_for_another_process_is_idle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    SqliteStore::create(SqliteOptions::new(&path)).await.unwrap().close().await;
    let reader = SqliteStore::open_read_only(SqliteOptions::new(&path)).await.unwrap();
    let head = reader.head().await.unwrap();
    let before = ticks();
    assert_eq!(reader.changed(&head, Duration::from_secs(2)).await.unwrap(), head);
    let used = ticks() - before;
    assert!(used < 20, "{used} of 200 ticks went into waiting");
}
