//! A waiting reader uses almost no processor time. The test has its own file, because it measures the processor time of
//! its whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

mod support;

use std::time::Duration;

use domain::ports::EventStore;
use event_replay_storage_sqlite::SqliteOptions;
use support::SqliteStore;

/// Returns the processor time of this process, in ticks of 1/100 second.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A process that has written nothing gets no wake-up from its own commits. It polls the file, and must not use a busy
/// loop.
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
