//! Pauses of groups: one row each, by group and source, in partition 0.

use async_trait::async_trait;
use domain::{
    StorageFailure,
    group::GroupPause,
    ports::{
        GroupStoreError, PauseStore,
        engine::{Guard, Read, RowId, Snapshot, Space, SpaceKind, Transaction, rows::Part},
    },
};

use crate::{
    Store,
    rows::{from_json, named, of, read_values, to_json},
};

fn space(group: &str) -> Space {
    of(SpaceKind::GroupPause, group)
}

fn row_of(group: &str, source: &str) -> RowId {
    space(group).into_row(domain::ports::engine::rows::key(&[Part::Text(source)]))
}

fn read(value: &[u8]) -> Result<GroupPause, StorageFailure> {
    from_json(value, "the pause of a group")
}

#[async_trait]
impl PauseStore for Store {
    async fn pause_group(&self, group: &str, pause: &GroupPause) -> Result<(), GroupStoreError> {
        let there = named(SpaceKind::Group, group);
        let mut transaction = Transaction::durable();
        transaction.guard(Guard::Present(there)).put(row_of(group, &pause.source), to_json(pause)?);
        match self.first().is_committed(&transaction).await? {
            true => Ok(()),
            false => Err(GroupStoreError::NoGroup(group.to_owned())),
        }
    }

    async fn resume_group(&self, group: &str, source: Option<&str>) -> Result<u64, GroupStoreError> {
        let decision = |mut found: Snapshot| {
            let pauses = read_values(found.range(), read)?;
            let ended = pauses.iter().filter(|pause| source.is_none_or(|source| pause.source == source));
            let mut transaction = Transaction::durable().even_when_full();
            let mut count = 0;
            for pause in ended {
                transaction.guard(Guard::Is(row_of(group, &pause.source), to_json(pause)?));
                transaction.delete(row_of(group, &pause.source));
                count += 1;
            }
            Ok::<_, GroupStoreError>((count, (count > 0).then_some(transaction)))
        };
        self.first().decide(&[Read::all(space(group))], decision).await
    }

    async fn pauses(&self, group: &str) -> Result<Vec<GroupPause>, GroupStoreError> {
        let found = self.first().all(space(group)).await?;
        let mut pauses = read_values(found, read)?;
        pauses.sort_by(|one, other| one.source.cmp(&other.source));
        Ok(pauses)
    }
}
