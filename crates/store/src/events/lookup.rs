//! Reads events by their ids and by their positions.

use domain::{
    Event, Position, StorageFailure, StoredEvent,
    batch::known_outcome,
    ports::{
        AppendOutcome, EventStoreError, Page,
        engine::{DamagedEvent, Entry, IdState},
    },
};

use super::read::add;
use crate::{Store, divided::Divided};

impl Store {
    /// Returns the events of these ids, in the order of the ids. If several partitions have an id, each of their events
    /// is returned.
    pub(super) async fn events_of(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        let names: Vec<&str> = ids.iter().map(String::as_str).collect();
        let parts = self.in_all(|partition| partition.entries_of(&names)).await?;
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        let mut found = Vec::new();
        for id in ids {
            for (number, part) in (0u16..).zip(&mut parts) {
                let Some((_, Some(entry))) = part.next() else { continue };
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
        if self.is_single() {
            return self.only_at(positions).await;
        }
        let divided = Divided::new(self, positions.iter().map(|at| (at.partition, at.sequence)));
        let entries = divided.ask(None, |(partition, sequences)| partition.at(sequences)).await?;
        let mut page = Page::default();
        for (position, entry) in positions.iter().zip(entries) {
            if let Some(entry) = entry {
                add(&mut page, position.partition, entry);
            }
        }
        Ok(page)
    }

    /// Returns the events at positions of the only partition.
    async fn only_at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        let is_there = |position: &&Position| position.partition == 0;
        let sequences: Vec<u64> = positions.iter().filter(is_there).map(|at| at.sequence).collect();
        let entries = self.first().at(&sequences).await?;
        let mut page = Page::default();
        page.events.reserve(entries.len());
        entries.into_iter().flatten().for_each(|entry| add(&mut page, 0, entry));
        Ok(page)
    }
}

/// Returns the outcome of an append to a partition for an event whose id the log knows. Returns none if the log does
/// not know the id, or if the stored event was removed after the lookup.
pub(crate) fn known(
    event: &Event,
    partition: u16,
    state: Option<IdState>,
    entry: Option<&Entry>,
) -> Option<AppendOutcome> {
    let json = entry.map(|entry| match entry {
        Ok(stored) => stored.event.json(),
        // A damaged event equals no other event.
        Err(_) => "",
    });
    known_outcome(event, state?, partition, json)
}
