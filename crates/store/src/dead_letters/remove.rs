//! Removes closed dead letters, and dead letters whose events are erased.

use domain::{
    DeadLetterState, Entity, Event, StorageFailure,
    ports::engine::{IdState, Space, SpaceKind, Transaction},
};
use jiff::Timestamp;

use super::{
    change::Request,
    rows::{PAGE, Stored, remove_letter},
};
use crate::{
    pages::IndexPages,
    partition::Partition,
    retry::OptimisticRetry,
    rows::{ids_in, letters_in, refuse_id},
};

impl<'s> Partition<'s> {
    /// Removes dead letters that were closed before an instant. Returns their number.
    pub(super) async fn purge_letters(self, closed_before: Timestamp) -> Result<u64, StorageFailure> {
        let goes =
            |stored: &Stored| stored.letter.state.is_closed() && stored.letter.updated_at < closed_before;
        let mut purged = 0;
        for group in self.groups_with_letters().await? {
            for state in [DeadLetterState::Handled, DeadLetterState::Discarded] {
                let mut pages = IndexPages::new(self, vec![letters_in(&group, state)], PAGE);
                while let Some(page) = pages.next().await? {
                    purged += self.remove_letters(ids_in(&page)?, goes).await?;
                }
            }
        }
        Ok(purged)
    }

    /// Removes the dead letters that `goes` selects in their current state. Returns their number.
    async fn remove_letters(
        self,
        mut ids: Vec<String>,
        goes: impl Fn(&Stored) -> bool,
    ) -> Result<u64, StorageFailure> {
        let mut removed = 0;
        let mut retry = OptimisticRetry::new();
        loop {
            let letters = self.letters(&ids).await?.into_iter().flatten();
            let letters: Vec<Stored> = letters.filter(|stored| goes(stored)).collect();
            if letters.is_empty() {
                return Ok(removed);
            }
            let mut transactions = vec![Transaction::durable(); letters.len()];
            for (transaction, stored) in transactions.iter_mut().zip(&letters) {
                remove_letter(transaction, stored);
            }
            let outcomes = self.commit(&transactions).await?;
            let refused = letters.into_iter().zip(&outcomes).filter(|(_, outcome)| !outcome.is_done());
            ids = refused.map(|(stored, _)| stored.letter.id).collect();
            removed += (outcomes.len() - ids.len()) as u64;
            if ids.is_empty() {
                return Ok(removed);
            }
            retry.again().await?;
        }
    }

    /// Removes every dead letter whose event names an entity, and refuses the ids of the events. Returns the events
    /// whose ids were not refused before. Releases the keys that are parked behind these dead letters.
    pub(crate) async fn erase_letters(
        self,
        entity: &Entity,
        partitions: u16,
    ) -> Result<Vec<Event>, StorageFailure> {
        let mut erased = Vec::new();
        let mut pages = self.every_letter();
        while let Some(page) = pages.next().await? {
            for stored in self.letters(&ids_in(&page)?).await?.into_iter().flatten() {
                if stored.letter.event.names(entity) {
                    erased.extend(self.erase_letter(&stored.letter.id, partitions).await?);
                }
            }
        }
        Ok(erased)
    }

    /// Removes the dead letters of events whose ids are already refused.
    pub(crate) async fn remove_erased_letters(self, partitions: u16) -> Result<(), StorageFailure> {
        let mut pages = self.every_letter();
        while let Some(page) = pages.next().await? {
            let letters: Vec<Stored> = self.letters(&ids_in(&page)?).await?.into_iter().flatten().collect();
            let ids: Vec<&str> = letters.iter().map(|stored| stored.letter.event.id()).collect();
            for (stored, state) in letters.iter().zip(self.locate(&ids).await?) {
                if state == Some(IdState::Erased) {
                    self.erase_letter(&stored.letter.id, partitions).await?;
                }
            }
        }
        Ok(())
    }

    fn every_letter(self) -> IndexPages<'s> {
        IndexPages::new(self, vec![Space::of(SpaceKind::DeadLetterOrder)], PAGE)
    }

    /// Removes a dead letter, and refuses the id of its event. Returns the event if its id was not refused before.
    async fn erase_letter(self, id: &str, partitions: u16) -> Result<Option<Event>, StorageFailure> {
        self.change_some(&[id], Request::Discard("its event was erased"), partitions).await?;
        let mut retry = OptimisticRetry::new();
        loop {
            let found = self.letters(&[id.to_owned()]).await?.pop().flatten();
            let Some(stored) = found else { return Ok(None) };
            let known = self.locate_one(stored.letter.event.id()).await?;
            let mut transaction = Transaction::durable();
            remove_letter(&mut transaction, &stored);
            refuse_id(&mut transaction, stored.letter.event.id(), known);
            if self.is_committed(&transaction).await? {
                return Ok(known.is_none().then_some(stored.letter.event));
            }
            retry.again().await?;
        }
    }
}
