//! The port of the log, over all partitions.

mod append;
mod erase;
mod expecting;
pub(crate) mod lookup;
mod mentions;
mod read;

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Cursor, Entity, Event, Expectation, Filter, Position, StoredEvent,
    ports::{
        AppendOutcome, Atomicity, Erased, EventStore, EventStoreError, Page, ReadRequest, StoreInfo,
        TrimRequest, Trimmed, VerifyReport, event_store::ProgressCallback,
    },
};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::{Store, retention, verify};

/// A wait of ten years. It replaces a longer timeout, which a clock could not represent.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[async_trait]
impl EventStore for Store {
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        self.append_batch(batch, atomicity).await
    }

    async fn append_expecting(
        &self,
        batch: &[Event],
        expectation: &Expectation,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        self.append_conditional(batch, expectation).await
    }

    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        match self.is_single() {
            true => self.only_page(request).await,
            false => self.merged_page(request).await,
        }
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        self.events_of(ids).await
    }

    async fn at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        self.events_at(positions).await
    }

    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError> {
        let marks = match until {
            None => vec![u64::MAX; usize::from(self.partition_count())],
            Some(until) => {
                self.check_shape(until)?;
                self.sequences_of(&self.states().await?, until)?
            }
        };
        let counts = (0u16..).zip(marks).map(|(number, mark)| self.engine().count(number, filter, mark));
        Ok(try_join_all(counts).await?.into_iter().sum())
    }

    async fn head(&self) -> Result<Cursor, EventStoreError> {
        Ok(self.head_of(&self.states().await?))
    }

    async fn changed(&self, after: &Cursor, timeout: Duration) -> Result<Cursor, EventStoreError> {
        let deadline = Instant::now() + timeout.min(LONGEST_WAIT);
        loop {
            let states = self.reached_states().await?;
            let sequences = self.sequences_of(&states, after)?;
            let is_past = states.iter().zip(&sequences).any(|(state, sequence)| state.head > *sequence);
            let left = deadline.saturating_duration_since(Instant::now());
            if is_past || left.is_zero() {
                return Ok(self.head_of(&states));
            }
            self.engine().changed(&sequences, left).await?;
        }
    }

    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
        retention::trim(self, request).await
    }

    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError> {
        let mut erased = Erased::default();
        // One partition at a time, because freeing the space of erased events loads the machine.
        for partition in self.partitions() {
            let of_partition = self.erase_in(partition, entity).await?;
            erased.events += of_partition.events;
            erased.bytes += of_partition.bytes;
            erased.remains.extend(of_partition.remains);
        }
        erased.remains.extend(self.forget_mentions(entity).await?);
        let mut said = HashSet::new();
        erased.remains.retain(|remains| said.insert(remains.clone()));
        Ok(erased)
    }

    async fn verify(&self, progress: Option<ProgressCallback>) -> Result<VerifyReport, EventStoreError> {
        Ok(verify::verify(self, progress).await?)
    }

    async fn info(&self) -> Result<StoreInfo, EventStoreError> {
        let states = self.states().await?;
        let info = self.info();
        Ok(StoreInfo {
            id: info.store,
            namespace: info.namespace.clone(),
            keeps: info.keeps,
            head: self.head_of(&states),
            events: states.iter().map(|state| state.events).sum(),
            bytes: states.iter().map(|state| state.bytes).sum(),
            bytes_occupied: self.engine().occupied().await?,
            trimmed_through: states.iter().map(|state| state.trimmed_through).collect(),
        })
    }
}
