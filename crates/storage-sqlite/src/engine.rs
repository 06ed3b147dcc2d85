//! The implementation of the port [`StorageEngine`]. Each call runs on the writing thread or on a reading connection.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Event, Filter, StorageFailure,
    ports::{
        Atomicity, VerifyReport,
        engine::{
            Appended, Checked, EngineInfo, Entry, IdState, Outcome, PartitionState, Read, Removal, Removed,
            Scan, ScanPage, Snapshot, StorageEngine, Transaction,
        },
    },
};

use crate::{
    file::{SqliteEngine, blocking, occupied},
    index::count,
    log::{ids, read, scrub, wake},
    reserve, rows, verify,
    writer::{Flush, Writer, change::Change},
};

#[async_trait]
impl StorageEngine for SqliteEngine {
    fn info(&self) -> &EngineInfo {
        self.engine_info()
    }

    async fn state(&self, _partition: u16) -> Result<PartitionState, StorageFailure> {
        let now = self.clock().now();
        self.reading(move |connection, state| state.describe(connection, now)).await
    }

    async fn changed(&self, heads: &[u64], timeout: Duration) -> Result<(), StorageFailure> {
        wake::changed(self, heads.first().copied().unwrap_or(0), timeout).await
    }

    async fn append(
        &self,
        _partition: u16,
        batch: &[Event],
        atomicity: Atomicity,
        with: &Transaction,
    ) -> Result<Appended, StorageFailure> {
        if batch.is_empty() && with.is_nothing() {
            return Ok(Appended::Done(Vec::new()));
        }
        self.writer().await?.append(batch.to_vec(), atomicity, with.clone()).await
    }

    async fn remove(&self, _partition: u16, removal: &Removal<'_>) -> Result<Removed, StorageFailure> {
        let (entries, kind, with) = (removal.entries.to_vec(), removal.kind, removal.with.clone());
        let remove = move |change: &mut Change<'_>| {
            if let Outcome::Refused { guard } = change.perform(&with)? {
                return Ok(Removed::Refused { guard });
            }
            let (events, bytes) = change.remove(&entries, kind)?;
            Ok(Removed::Done { events, bytes })
        };
        let job = move |writer: &mut Writer| match writer.transact(Flush::Wait, &remove) {
            Err(StorageFailure::Full(_)) if writer.give_up_the_reserve() => {
                writer.transact(Flush::Wait, &remove)
            }
            Err(StorageFailure::Full(_)) => Err(reserve::none_left()),
            done => done,
        };
        self.writer().await?.run(job).await
    }

    async fn scan(&self, _partition: u16, request: &Scan<'_>) -> Result<ScanPage, StorageFailure> {
        let (filter, now) = (request.filter.clone(), self.clock().now());
        let Scan { order, after, until, limit, max_bytes, .. } = *request;
        self.reading(move |connection, state| {
            let request = Scan { filter: &filter, order, after, until, limit, max_bytes };
            read::page(connection, state, &request, now)
        })
        .await
    }

    async fn at(&self, _partition: u16, sequences: &[u64]) -> Result<Vec<Option<Entry>>, StorageFailure> {
        let sequences = sequences.to_vec();
        self.reading(move |connection, state| read::at(connection, state, &sequences)).await
    }

    async fn locate(&self, _partition: u16, ids: &[&str]) -> Result<Vec<Option<IdState>>, StorageFailure> {
        let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
        self.reading(move |connection, _| ids.iter().map(|id| ids::state_of(connection, id)).collect()).await
    }

    async fn count(&self, _partition: u16, filter: &Arc<Filter>, until: u64) -> Result<u64, StorageFailure> {
        count::count(self, filter, until).await
    }

    async fn verify(&self, _partition: u16, checked: Checked<'_>) -> Result<VerifyReport, StorageFailure> {
        verify::verify(self, checked).await
    }

    async fn scrub(&self, _partition: u16, erased: bool) -> Result<Vec<String>, StorageFailure> {
        scrub::scrub(self, erased).await
    }

    async fn occupied(&self) -> Result<Option<u64>, StorageFailure> {
        let path = self.path().to_owned();
        blocking(move || Ok(occupied(&path))).await
    }

    async fn get(&self, _partition: u16, reads: &[Read]) -> Result<Snapshot, StorageFailure> {
        let (reads, now) = (reads.to_vec(), self.clock().now());
        self.reading(move |connection, state| {
            Ok(Snapshot::new(now, state.generation, rows::read(connection, &reads)?))
        })
        .await
    }

    async fn commit(
        &self,
        _partition: u16,
        transactions: &[Transaction],
    ) -> Result<Vec<Outcome>, StorageFailure> {
        if transactions.is_empty() {
            return Ok(Vec::new());
        }
        self.writer().await?.commit(transactions.to_vec()).await
    }
}
