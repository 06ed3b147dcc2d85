//! The implementation of the port [`StorageEngine`].

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    Event, Filter, StorageFailure,
    ports::{
        Atomicity, StorageEngine, VerifyReport,
        engine::{
            Appended, Checked, EngineInfo, Entry, IdState, Outcome, PartitionState, Read, Removal, Removed,
            Scan, ScanPage, Snapshot, Transaction,
        },
    },
};
use tokio::time::{Instant, timeout_at};

use crate::{MemoryEngine, log::GENERATION, scan, verify};

/// Longest wait of one call. It is long enough for any caller, and a deadline this far ahead cannot overflow the
/// clock.
const LONGEST_WAIT: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

#[async_trait]
impl StorageEngine for MemoryEngine {
    fn info(&self) -> &EngineInfo {
        &self.shared.info
    }

    async fn state(&self, partition: u16) -> Result<PartitionState, StorageFailure> {
        Ok(self.read(partition)?.state(self.shared.clock.now()))
    }

    async fn changed(&self, heads: &[u64], timeout: Duration) -> Result<(), StorageFailure> {
        let deadline = Instant::now() + timeout.min(LONGEST_WAIT);
        let mut appends = self.shared.appends.subscribe();
        loop {
            appends.mark_unchanged();
            for (number, head) in (0u16..).zip(heads) {
                if self.read(number)?.head > *head {
                    return Ok(());
                }
            }
            if timeout_at(deadline, appends.changed()).await.is_err() {
                return Ok(());
            }
        }
    }

    async fn append(
        &self,
        partition: u16,
        batch: &[Event],
        atomicity: Atomicity,
        with: &Transaction,
    ) -> Result<Appended, StorageFailure> {
        let outcomes = {
            let mut state = self.write(partition)?;
            // The transaction is performed before the append, because its guards apply to the partition before the
            // batch.
            if let Outcome::Refused { guard } = state.perform(with)? {
                return Ok(Appended::Refused { guard });
            }
            state.append(batch, atomicity, self.shared.clock.now())
        };
        self.shared.appends.send_modify(|appends| *appends += 1);
        Ok(Appended::Done(outcomes))
    }

    async fn remove(&self, partition: u16, removal: &Removal<'_>) -> Result<Removed, StorageFailure> {
        let mut state = self.write(partition)?;
        if let Outcome::Refused { guard } = state.perform(removal.with)? {
            return Ok(Removed::Refused { guard });
        }
        let (events, bytes) = state.remove(removal);
        Ok(Removed::Done { events, bytes })
    }

    async fn scan(&self, partition: u16, request: &Scan<'_>) -> Result<ScanPage, StorageFailure> {
        let now = self.shared.clock.now();
        Ok(scan::page(&*self.read(partition)?, request, now))
    }

    async fn at(&self, partition: u16, sequences: &[u64]) -> Result<Vec<Option<Entry>>, StorageFailure> {
        let state = self.read(partition)?;
        Ok(sequences.iter().map(|sequence| state.entry(*sequence)).collect())
    }

    async fn locate(&self, partition: u16, ids: &[&str]) -> Result<Vec<Option<IdState>>, StorageFailure> {
        let state = self.read(partition)?;
        Ok(ids.iter().map(|id| state.locate(id)).collect())
    }

    async fn count(&self, partition: u16, filter: &Arc<Filter>, until: u64) -> Result<u64, StorageFailure> {
        Ok(scan::count(&*self.read(partition)?, filter, until))
    }

    async fn verify(&self, partition: u16, checked: Checked<'_>) -> Result<VerifyReport, StorageFailure> {
        Ok(verify::verify(&*self.read(partition)?, partition, checked))
    }

    async fn scrub(&self, _: u16, _: bool) -> Result<Vec<String>, StorageFailure> {
        Ok(Vec::new())
    }

    async fn occupied(&self) -> Result<Option<u64>, StorageFailure> {
        Ok(None)
    }

    async fn get(&self, partition: u16, reads: &[Read]) -> Result<Snapshot, StorageFailure> {
        let state = self.read(partition)?;
        let answers = reads.iter().map(|read| state.rows.answer(read));
        Ok(Snapshot::new(self.shared.clock.now(), GENERATION, answers))
    }

    async fn commit(
        &self,
        partition: u16,
        transactions: &[Transaction],
    ) -> Result<Vec<Outcome>, StorageFailure> {
        let mut state = self.write(partition)?;
        transactions.iter().map(|transaction| state.perform(transaction)).collect()
    }
}
