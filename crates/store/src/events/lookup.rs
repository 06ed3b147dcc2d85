//! Events by their ids and by their positions.

use domain::{
    Position, StorageFailure, StoredEvent,
    ports::{
        EventStoreError, Page,
        engine::{DamagedEvent, Entry, IdState},
    },
};
use futures_util::future::try_join_all;

use super::read::add;
use crate::{Store, partition::Partition};

impl Store {
    /// The events of these ids, in the order of the ids; of an id that several partitions have, each of them.
    pub(super) async fn events_of(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        let parts = try_join_all(self.partitions().map(|partition| partition.entries_of(ids))).await?;
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        let mut found = Vec::new();
        for id in ids {
            for (number, part) in (0u16..).zip(&mut parts) {
                let Some(entry) = part.next().flatten() else { continue };
                found.push(entry.map_err(|damaged| {
                    let DamagedEvent { sequence, detail, .. } = damaged;
                    StorageFailure::Corrupt(format!(
                        "the event {id:?} at position {number}:{sequence}: {detail}"
                    ))
                })?);
            }
        }
        Ok(found)
    }

    pub(super) async fn events_at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        let mut parts: Vec<Vec<u64>> = vec![Vec::new(); usize::from(self.partition_count())];
        for position in positions {
            if let Some(part) = parts.get_mut(usize::from(position.partition)) {
                part.push(position.sequence);
            }
        }
        let asked = self.partitions().zip(&parts).map(|(partition, sequences)| partition.at(sequences));
        let mut answers: Vec<_> = try_join_all(asked).await?.into_iter().map(Vec::into_iter).collect();
        let mut page = Page::default();
        for position in positions {
            let answer = answers.get_mut(usize::from(position.partition)).and_then(Iterator::next);
            if let Some(entry) = answer.flatten() {
                add(&mut page, position.partition, entry);
            }
        }
        Ok(page)
    }
}

impl Partition<'_> {
    /// The events of these ids here; one answer for each.
    async fn entries_of(self, ids: &[String]) -> Result<Vec<Option<Entry>>, StorageFailure> {
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let states = self.locate(&names).await?;
        let sequence = |state: &Option<IdState>| match state {
            Some(IdState::Stored(sequence)) => Some(*sequence),
            _ => None,
        };
        let sequences: Vec<u64> = states.iter().filter_map(sequence).collect();
        let mut entries = self.at(&sequences).await?.into_iter();
        Ok(states.iter().map(|state| sequence(state).and_then(|_| entries.next().flatten())).collect())
    }
}
