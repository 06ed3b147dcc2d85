//! Replay counts, kept beside the events.

use std::collections::BTreeSet;

use async_trait::async_trait;
use domain::{
    Position,
    ports::{ReplayStore, ReplayStoreError},
};
use jiff::Timestamp;

use crate::{MemoryStore, state};

#[async_trait]
impl ReplayStore for MemoryStore {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        let mut state = self.state_mut();
        let sequences: BTreeSet<u64> = positions.iter().copied().filter_map(state::sequence).collect();
        for sequence in sequences {
            if let Some(entry) = state.log.get_mut(&sequence) {
                entry.replay_count = entry.replay_count.saturating_add(1);
                entry.last_replay_at = Some(at);
            }
        }
        Ok(())
    }
}
