//! Whether a group has had nothing to do for a while.

use std::time::{Duration, Instant};

use domain::ports::ReplayState;
use replay::ReplayManager;

use super::error::AppError;
use crate::{handle::StoreHandle, idle::has_settled};

/// Replays that are looked at: those that run are among the newest.
const NEWEST: usize = 100;

/// Watches a group for idleness.
pub struct Idleness {
    patience: Duration,
    since: Option<Instant>,
    begun: u64,
}

impl Idleness {
    /// A watch that is content after this long.
    pub fn new(patience: Duration) -> Self {
        Self { patience, since: None, begun: 0 }
    }

    /// Whether nothing was to be done for long enough. `begun` is how many deliveries were begun so far.
    ///
    /// # Errors
    /// When the store fails.
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

/// Whether the whole group, in every process, is at the head, with nothing in its lanes, nothing that waits to be tried
/// again, and no replay on its way to it.
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
