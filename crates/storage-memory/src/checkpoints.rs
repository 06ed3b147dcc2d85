//! Operators' checkpoints.

use async_trait::async_trait;
use domain::{
    Checkpoint,
    ports::{CheckpointStore, CheckpointStoreError},
};

use crate::{MemoryStore, state::State};

#[async_trait]
impl CheckpointStore for MemoryStore {
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError> {
        let mut state = self.state_mut();
        match state.checkpoints.iter_mut().find(|existing| existing.name == checkpoint.name) {
            Some(existing) if replace => *existing = checkpoint,
            Some(_) => return Err(CheckpointStoreError::NameTaken(checkpoint.name)),
            None => state.checkpoints.push(checkpoint),
        }
        Ok(())
    }

    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError> {
        let state = self.state();
        Ok(find(&state, name_or_id).and_then(|at| state.checkpoints.get(at)).cloned())
    }

    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError> {
        let mut checkpoints = self.state().checkpoints.clone();
        checkpoints.sort_by_key(|checkpoint| checkpoint.created_at);
        Ok(checkpoints)
    }

    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError> {
        let mut state = self.state_mut();
        let found = find(&state, name_or_id);
        if let Some(at) = found {
            state.checkpoints.remove(at);
        }
        Ok(found.is_some())
    }
}

/// Names go before ids.
fn find(state: &State, name_or_id: &str) -> Option<usize> {
    let by_name = state.checkpoints.iter().position(|checkpoint| checkpoint.name == name_or_id);
    by_name.or_else(|| state.checkpoints.iter().position(|checkpoint| checkpoint.id == name_or_id))
}
