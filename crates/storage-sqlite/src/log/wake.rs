//! Wakes readers when the log has grown: immediately within the process, and by polling the file between processes.

use std::time::Duration;

use domain::StorageFailure;
use tokio::time::Instant;

use crate::file::SqliteEngine;

/// First and longest pause between two polls for commits of other processes, and longest wait of one call.
const ASK_FIRST: Duration = Duration::from_millis(5);
const ASK_SLOWEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Waits until the head is past a sequence, or until the timeout.
pub(crate) async fn changed(
    engine: &SqliteEngine,
    after: u64,
    timeout: Duration,
) -> Result<(), StorageFailure> {
    // A longer timeout could overflow the deadline, so it is limited to ten years.
    let deadline = Instant::now() + timeout.min(LONGEST);
    let mut commits = engine.commits();
    let mut pause = ASK_FIRST;
    loop {
        commits.mark_unchanged();
        let head = engine.reading(|_, state| Ok(state.head)).await?;
        let now = Instant::now();
        if head > after || now >= deadline {
            return Ok(());
        }
        let until = deadline.min(now + pause);
        tokio::select! {
            _ = commits.changed() => pause = ASK_FIRST,
            () = tokio::time::sleep_until(until) => pause = (pause * 2).min(ASK_SLOWEST),
        }
    }
}
