//! Dead letters: the port, over all partitions. A dead letter lies in the partition of its event.

mod change;
mod list;
mod remove;
pub(crate) mod rows;

use async_trait::async_trait;
use domain::{
    DeadLetter, StorageFailure,
    dead_letter::LetterEdit,
    ports::{DeadLetterChange, DeadLetterCount, DeadLetterQuery, DeadLetterStore},
};
use jiff::Timestamp;

use self::change::Request;
use crate::Store;

#[async_trait]
impl DeadLetterStore for Store {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StorageFailure> {
        self.list_letters(query).await
    }

    async fn dead_letters_by_id(&self, ids: &[String]) -> Result<Vec<DeadLetter>, StorageFailure> {
        let parts = self.in_all(|partition| partition.letters(ids)).await?;
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        let mut letters = Vec::with_capacity(ids.len());
        for _ in ids {
            let found: Vec<_> = parts.iter_mut().filter_map(|part| part.next().flatten()).collect();
            letters.extend(found.into_iter().map(|stored| stored.letter));
        }
        Ok(letters)
    }

    async fn redrive(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        self.change_letters(ids, Request::Redrive).await
    }

    async fn discard(&self, ids: &[String], reason: &str) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        self.change_letters(ids, Request::Discard(reason)).await
    }

    async fn edit(&self, id: &str, edit: Option<&LetterEdit>) -> Result<DeadLetterChange, StorageFailure> {
        let changes = self.change_letters(&[id.to_owned()], Request::Edit(edit)).await?;
        Ok(changes.into_iter().next().unwrap_or(DeadLetterChange::Unknown))
    }

    async fn restore(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        self.change_letters(ids, Request::Restore).await
    }

    async fn count_dead_letters(&self) -> Result<Vec<DeadLetterCount>, StorageFailure> {
        self.letter_counts().await
    }

    async fn purge_dead_letters(&self, closed_before: Timestamp) -> Result<u64, StorageFailure> {
        Ok(self.in_all(|partition| partition.purge_letters(closed_before)).await?.into_iter().sum())
    }
}
