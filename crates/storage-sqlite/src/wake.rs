//! Waking readers when the log has grown: at once within the process, by asking the file between processes.

use std::time::Duration;

use domain::{Cursor, ports::EventStoreError};
use tokio::time::Instant;

use crate::store::SqliteStore;

/// How soon, and at the slowest how often, a waiting reader asks whether another process has written.
const ASK_FIRST: Duration = Duration::from_millis(5);
const ASK_SLOWEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl SqliteStore {
    pub(crate) async fn wait_for_change(
        &self,
        after: &Cursor,
        timeout: Duration,
    ) -> Result<Cursor, EventStoreError> {
        // A wait that no clock can end is as good as one of years.
        let deadline = Instant::now() + timeout.min(LONGEST);
        let mut commits = self.commits();
        let mut pause = ASK_FIRST;
        loop {
            commits.mark_unchanged();
            let head = self.head_after(after).await?;
            let now = Instant::now();
            if head.sequence(0) > after.sequence(0) || now >= deadline {
                return Ok(head);
            }
            let until = deadline.min(now + pause);
            tokio::select! {
                _ = commits.changed() => pause = ASK_FIRST,
                () = tokio::time::sleep_until(until) => pause = (pause * 2).min(ASK_SLOWEST),
            }
        }
    }
}
