//! Whether a group has been idle for a while.

use std::time::{Duration, Instant};

use domain::ports::ReplayState;
use replay::ReplayManager;

use super::error::AppError;
use crate::{handle::StoreHandle, idle::has_settled};

/// The number of replays to inspect. Running replays are among the newest.
const NEWEST: usize = 100;

/// Watches a group for idleness.
pub struct Idleness {
    patience: Duration,
    since: Option<Instant>,
    begun: u64,
}

impl Idleness {
    /// Makes a watch that ends after this time of idleness.
    pub fn new(patience: Duration) -> Self {
        Self { patience, since: None, begun: 0 }
    }

    /// Returns whether the group has been idle for long enough. `begun` is the number of deliveries so far.
    ///
    /// # Errors
    /// Returns [`AppError`] when the store fails.
    pub async fn is_over(
        &mut self,
        store: &StoreHandle,
        manager: &ReplayManager,
        group: &str,
        begun: u64,
    ) -> Result<bool, AppError> {
        let quiet = begun == self.begun && is_idle(store, manager, group).await?;
        self.begun = begun;
        if !quiet {
            self.since = None;
            return Ok(false);
        }
        Ok(self.since.get_or_insert_with(Instant::now).elapsed() >= self.patience)
    }
}

/// Returns whether the whole group, in every process, is idle. Then the group is at the head, its replay queues are
/// empty, and no key waits for a retry. No replay that is running or waiting goes to the group.
async fn is_idle(store: &StoreHandle, manager: &ReplayManager, group: &str) -> Result<bool, AppError> {
    let head = store.head().await?;
    let Some(status) = store.group(group).await? else { return Ok(false) };
    if !has_settled(&status, &head) {
        return Ok(false);
    }
    let replays = manager.list_replays(NEWEST).await?;
    Ok(!replays.iter().any(|replay| {
        let rests = replay.state.is_final() || replay.state == ReplayState::Paused;
        !rests && replay.groups.iter().any(|name| name == group)
    }))
}
