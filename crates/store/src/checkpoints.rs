//! Checkpoints: one row each, by name, in partition 0.

use async_trait::async_trait;
use domain::{
    Checkpoint, StorageFailure,
    ports::{
        CheckpointStore, CheckpointStoreError,
        engine::{Guard, Read, Snapshot, Space, SpaceKind, Transaction},
    },
};

use crate::{
    Store,
    holds::bump_hold_versions,
    retry::OptimisticRetry,
    rows::{HOLDS, counter, from_json, named, read_values, to_json},
};

fn read(value: &[u8]) -> Result<Checkpoint, StorageFailure> {
    from_json(value, "a checkpoint")
}

impl Store {
    /// Returns every checkpoint, oldest first.
    pub(crate) async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StorageFailure> {
        let mut all = read_values(self.first().all(Space::of(SpaceKind::Checkpoint)).await?, read)?;
        all.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        Ok(all)
    }

    async fn checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, StorageFailure> {
        match self.first().row(named(SpaceKind::Checkpoint, name_or_id)).await? {
            // A name takes precedence over an id.
            Some(value) => read(&value).map(Some),
            None => Ok(self.checkpoints().await?.into_iter().find(|it| it.id == name_or_id)),
        }
    }
}

#[async_trait]
impl CheckpointStore for Store {
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError> {
        let row = named(SpaceKind::Checkpoint, &checkpoint.name);
        let value = to_json(&checkpoint)?;
        let decision = |mut found: Snapshot| {
            let before = found.row();
            if before.is_some() && !replace {
                return Err(CheckpointStoreError::NameTaken(checkpoint.name.clone()));
            }
            let mut transaction = Transaction::durable();
            transaction.guard(Guard::still(row.clone(), before.as_deref())).put(row.clone(), value.clone());
            if checkpoint.hold {
                transaction.add(counter(HOLDS), 1);
            }
            Ok(((), Some(transaction)))
        };
        self.first().decide(&[Read::Row(row.clone())], decision).await?;
        if checkpoint.hold {
            bump_hold_versions(self.others()).await?;
        }
        Ok(())
    }

    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError> {
        Ok(self.checkpoint(name_or_id).await?)
    }

    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError> {
        Ok(self.checkpoints().await?)
    }

    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError> {
        let mut retry = OptimisticRetry::new();
        loop {
            let Some(found) = self.checkpoint(name_or_id).await? else { return Ok(false) };
            let row = named(SpaceKind::Checkpoint, &found.name);
            let mut transaction = Transaction::durable();
            transaction.guard(Guard::Is(row.clone(), to_json(&found)?)).delete(row);
            if self.first().is_committed(&transaction).await? {
                return Ok(true);
            }
            retry.again().await?;
        }
    }
}
