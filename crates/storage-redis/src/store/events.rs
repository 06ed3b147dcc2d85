//! The port of the log.

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Cursor, Entity, Event, Filter, Position, StoredEvent,
    ports::{
        AppendOutcome, Atomicity, Erased, EventStore, EventStoreError, Page, ReadRequest, StoreInfo,
        TrimRequest, Trimmed, VerifyReport, event_store::Progress,
    },
};
use futures_util::future::try_join_all;

use super::{RedisStore, outward};
use crate::{count, erase, occupied, read, retention, state::State, verify};

#[async_trait]
impl EventStore for RedisStore {
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        self.append_to_partitions(batch, atomicity).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        match self.only() {
            Some(only) => read::page(only, request).await,
            None => self.merged_page(request).await,
        }
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        match self.only() {
            Some(only) => read::by_ids(only, ids).await,
            None => self.holders_of(ids).await,
        }
    }

    async fn at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        match self.only() {
            Some(only) => read::at(only, positions).await,
            None => self.events_at(positions).await,
        }
    }

    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError> {
        if let Some(only) = self.only() {
            return count::count(only, filter, until).await;
        }
        let marks = match until {
            None => vec![None; self.partitions().len()],
            Some(until) => {
                self.check(&self.states().await?, until)?;
                self.divide(until)?.into_iter().map(Some).collect()
            }
        };
        let parts = self.partitions().iter().zip(&marks);
        let counts = parts.map(|(partition, mark)| count::count(partition, filter, mark.as_ref()));
        Ok(try_join_all(counts).await?.into_iter().sum())
    }

    async fn head(&self) -> Result<Cursor, EventStoreError> {
        Ok(self.head_of(&self.states().await?))
    }

    async fn changed(&self, after: &Cursor, timeout: Duration) -> Result<Cursor, EventStoreError> {
        self.wait_for_change(after, timeout).await
    }

    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
        retention::trim(self, request).await
    }

    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError> {
        let mut erased = Erased::default();
        // One after the other: each of them rewrites chunks, which is work for its server.
        for partition in self.partitions() {
            let of_partition = erase::erase(partition, entity).await?;
            erased.events += of_partition.events;
            erased.bytes += of_partition.bytes;
            erased.remains.extend(of_partition.remains);
        }
        let mut said = HashSet::new();
        erased.remains.retain(|remains| said.insert(remains.clone()));
        Ok(erased)
    }

    async fn verify(&self, progress: Option<Progress>) -> Result<VerifyReport, EventStoreError> {
        verify::verify_all(self, progress).await
    }

    async fn info(&self) -> Result<StoreInfo, EventStoreError> {
        let states = self.states().await?;
        Ok(StoreInfo {
            id: self.inner.store,
            namespace: self.options().namespace.clone(),
            keeps: self.inner.keeps,
            head: self.head_of(&states),
            events: states.iter().map(|state| state.events).sum(),
            bytes: states.iter().map(|state| state.bytes).sum(),
            bytes_occupied: self.bytes_occupied(&states).await?,
            trimmed_through: states.iter().map(|state| state.trimmed).collect(),
        })
    }
}

impl RedisStore {
    /// Bytes of memory that all partitions take, about; none where this user may not ask.
    async fn bytes_occupied(&self, states: &[State]) -> Result<Option<u64>, EventStoreError> {
        let parts = self.partitions().iter().zip(states);
        let bytes = try_join_all(parts.map(|(partition, state)| occupied::bytes(partition, state))).await?;
        Ok(bytes.into_iter().sum())
    }

    /// The events of these ids, in the order of the ids; of an id that several partitions hold, each of them.
    async fn holders_of(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        let parts = self.partitions().iter().map(|partition| read::by_ids(partition, ids));
        let mut parts: Vec<_> =
            try_join_all(parts).await?.into_iter().map(|part| part.into_iter().peekable()).collect();
        let mut found = Vec::new();
        for id in ids {
            for (partition, part) in parts.iter_mut().enumerate() {
                if let Some(mut stored) = part.next_if(|stored| stored.event.id() == id) {
                    outward(&mut stored.position, partition);
                    found.push(stored);
                }
            }
        }
        Ok(found)
    }

    async fn events_at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        let mut wanted: Vec<Vec<Position>> = vec![Vec::new(); self.partitions().len()];
        for position in positions {
            if let Some(of_partition) = wanted.get_mut(usize::from(position.partition)) {
                of_partition.push(Position::new(0, position.sequence));
            }
        }
        let asked = self.partitions().iter().zip(&wanted).map(|(partition, positions)| async move {
            match positions.is_empty() {
                true => Ok(Page::default()),
                false => read::at(partition, positions).await,
            }
        });
        let mut parts: Vec<_> = try_join_all(asked)
            .await?
            .into_iter()
            .map(|page| (page.events.into_iter().peekable(), page.corrupt.into_iter().peekable()))
            .collect();
        let mut page = Page::default();
        for position in positions {
            let partition = usize::from(position.partition);
            let Some((events, corrupt)) = parts.get_mut(partition) else { continue };
            if let Some(mut stored) = events.next_if(|it| it.position.sequence == position.sequence) {
                outward(&mut stored.position, partition);
                page.events.push(stored);
            } else if let Some(mut damaged) = corrupt.next_if(|it| it.position.sequence == position.sequence)
            {
                outward(&mut damaged.position, partition);
                page.corrupt.push(damaged);
            }
        }
        Ok(page)
    }
}
