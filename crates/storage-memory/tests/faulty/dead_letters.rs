//! The dead letters of a faulty store.

use async_trait::async_trait;
use domain::{
    StorageFailure,
    dead_letter::{DeadLetter, DeadLetterState, LetterEdit},
    group::{LaneOrigin, NewLaneBatch, segment_of},
    ports::{DeadLetterChange, DeadLetterCount, DeadLetterQuery, DeadLetterStore, GroupStore},
};
use jiff::Timestamp;

use super::{Fault, Faulty};

impl Faulty {
    /// Adds a dead letter to its group's lane, in any state.
    async fn send(&self, id: &str) {
        let found = self.store.dead_letters_by_id(&[id.to_owned()]).await.unwrap_or_default();
        for letter in found {
            let Ok(Some(group)) = self.store.group(&letter.group).await else { continue };
            let spec = group.record.spec;
            let batch = NewLaneBatch {
                segment: segment_of(&spec.key.of(&letter.event), 0, 1, spec.segments),
                group: letter.group,
                origin: LaneOrigin::Redrive { dead_letter: letter.id },
                positions: vec![letter.position.sequence],
            };
            let _ = self.store.enqueue(None, &[batch]).await;
        }
    }
}

#[async_trait]
impl DeadLetterStore for Faulty {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StorageFailure> {
        self.store.dead_letters(query).await
    }

    async fn dead_letters_by_id(&self, ids: &[String]) -> Result<Vec<DeadLetter>, StorageFailure> {
        self.store.dead_letters_by_id(ids).await
    }

    async fn redrive(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        let changes = self.store.redrive(ids).await?;
        for (id, change) in ids.iter().zip(&changes) {
            let on_its_way = *change == DeadLetterChange::Unchanged(DeadLetterState::Redriving);
            if on_its_way && self.fault == Fault::RedrivesTwice {
                self.send(id).await;
            }
        }
        Ok(changes)
    }

    async fn discard(&self, ids: &[String], reason: &str) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        self.store.discard(ids, reason).await
    }

    async fn edit(&self, id: &str, edit: Option<&LetterEdit>) -> Result<DeadLetterChange, StorageFailure> {
        self.store.edit(id, edit).await
    }

    async fn restore(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        self.store.restore(ids).await
    }

    async fn count_dead_letters(&self) -> Result<Vec<DeadLetterCount>, StorageFailure> {
        self.store.count_dead_letters().await
    }

    async fn purge_dead_letters(&self, closed_before: Timestamp) -> Result<u64, StorageFailure> {
        let before = if self.fault == Fault::PurgesAllThatIsClosed { Timestamp::MAX } else { closed_before };
        self.store.purge_dead_letters(before).await
    }
}
