//! Checkpoints: one row each, by name, in partition 0.

use async_trait::async_trait;
use domain::{
    Checkpoint, StorageFailure,
    ports::{
        CheckpointStore, CheckpointStoreError,
        engine::{Guard, Read, Space, SpaceKind, Transaction},
    },
};

use crate::{
    Store,
    holds::bump_hold_versions,
    retry::OptimisticRetry,
    rows::{HOLDS, counter, from_json, named, to_json},
};

fn read(value: &[u8]) -> Result<Checkpoint, StorageFailure> {
    from_json(value, || "a checkpoint".to_owned())
}

impl Store {
    /// Every checkpoint, the oldest first.
    pub(crate) async fn checkpoints(&self) -> Result<Vec<Checkpoint>, StorageFailure> {
        let mut found = self.first().get(&[Read::all(Space::of(SpaceKind::Checkpoint))]).await?;
        let rows = found.range();
        let mut all = rows.iter().map(|(_, value)| read(value)).collect::<Result<Vec<_>, _>>()?;
        all.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        Ok(all)
    }

    async fn checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, StorageFailure> {
        let mut found = self.first().get(&[Read::Row(named(SpaceKind::Checkpoint, name_or_id))]).await?;
        match found.row() {
            // Names go before ids.
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
        let mut retry = OptimisticRetry::new();
        loop {
            let before = self.first().get(&[Read::Row(row.clone())]).await?.row();
            if before.is_some() && !replace {
                return Err(CheckpointStoreError::NameTaken(checkpoint.name));
            }
            let mut transaction = Transaction::durable();
            transaction.guard(Guard::still(row.clone(), before.as_deref())).put(row.clone(), value.clone());
            if checkpoint.hold {
                transaction.add(counter(HOLDS), 1);
            }
            if self.first().is_committed(&transaction).await? {
                break;
            }
            retry.again().await?;
        }
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
