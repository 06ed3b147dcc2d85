//! An engine with a hook around it. Tests use it for latency, outages, lost answers, and all other faults.
//!
//! A test implements [`EngineHook`] and overrides the methods that it needs. [`FaultScript`] is a ready-made hook for
//! faults in a planned order. The store above needs no change: `Store::new(Arc::new(FaultyEngine::new(engine, hook)))`.

mod call;
mod script;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
pub use call::{EngineCall, EngineRequest, TransactionExt};
use domain::{
    Event, Filter, StorageFailure,
    ports::{
        Atomicity, StorageEngine, VerifyReport,
        engine::{
            Appended, Checked, EngineInfo, EngineLimits, Entry, IdState, Outcome, PartitionState, Read,
            Removal, Removed, Scan, ScanPage, Snapshot, Transaction,
        },
    },
};
pub use script::{EngineFault, FaultScript};

/// Actions before, after and instead of the calls of an engine. By default, each method forwards the call.
///
/// For each call, `before` runs first, then the method with the name of the call, and then `after`.
#[async_trait]
pub trait EngineHook: Send + Sync + 'static {
    /// Runs before a call. It may delay the call, and its failure replaces the call.
    async fn before(&self, call: &EngineCall<'_>) -> Result<(), StorageFailure> {
        let _ = call;
        Ok(())
    }

    /// Runs after a call, even if the call failed. A failure here replaces the answer.
    async fn after(&self, call: &EngineCall<'_>) -> Result<(), StorageFailure> {
        let _ = call;
        Ok(())
    }

    /// Replaces the transaction of a commit, an append, or a removal.
    fn transaction(&self, transaction: &Transaction) -> Transaction {
        transaction.clone()
    }

    /// Commits. An implementation may commit late, twice, in part, or not at all.
    async fn commit(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        transactions: &[Transaction],
    ) -> Result<Vec<Outcome>, StorageFailure> {
        engine.commit(partition, transactions).await
    }

    /// Appends events.
    async fn append(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        batch: &[Event],
        atomicity: Atomicity,
        with: &Transaction,
    ) -> Result<Appended, StorageFailure> {
        engine.append(partition, batch, atomicity, with).await
    }

    /// Removes events.
    async fn remove(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        removal: &Removal<'_>,
    ) -> Result<Removed, StorageFailure> {
        engine.remove(partition, removal).await
    }

    /// Reads rows.
    async fn get(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        reads: &[Read],
    ) -> Result<Snapshot, StorageFailure> {
        engine.get(partition, reads).await
    }

    /// Reads a page.
    async fn scan(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        request: &Scan<'_>,
    ) -> Result<ScanPage, StorageFailure> {
        engine.scan(partition, request).await
    }

    /// Reads events by their sequences.
    async fn at(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        sequences: &[u64],
    ) -> Result<Vec<Option<Entry>>, StorageFailure> {
        engine.at(partition, sequences).await
    }

    /// Looks up the states of ids.
    async fn locate(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        ids: &[&str],
    ) -> Result<Vec<Option<IdState>>, StorageFailure> {
        engine.locate(partition, ids).await
    }

    /// Counts events.
    async fn count(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        filter: &Arc<Filter>,
        until: u64,
    ) -> Result<u64, StorageFailure> {
        engine.count(partition, filter, until).await
    }

    /// Returns the state of a partition.
    async fn state(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
    ) -> Result<PartitionState, StorageFailure> {
        engine.state(partition).await
    }

    /// Waits for a change.
    async fn changed(
        &self,
        engine: &Arc<dyn StorageEngine>,
        heads: &[u64],
        timeout: Duration,
    ) -> Result<(), StorageFailure> {
        engine.changed(heads, timeout).await
    }
}

/// An engine behind a hook.
pub struct FaultyEngine<H> {
    engine: Arc<dyn StorageEngine>,
    hook: Arc<H>,
    info: EngineInfo,
}

impl<H: EngineHook> FaultyEngine<H> {
    /// Wraps an engine with a hook.
    pub fn new(engine: Arc<dyn StorageEngine>, hook: Arc<H>) -> Self {
        let info = engine.info().clone();
        Self { engine, hook, info }
    }

    /// Replaces the limits that the engine reports.
    #[must_use]
    pub fn with_limits(mut self, limits: EngineLimits) -> Self {
        self.info.limits = limits;
        self
    }

    async fn around<T: Send>(
        &self,
        call: EngineCall<'_>,
        made: impl Future<Output = Result<T, StorageFailure>> + Send,
    ) -> Result<T, StorageFailure> {
        self.hook.before(&call).await?;
        let answer = made.await;
        self.hook.after(&call).await?;
        answer
    }
}

#[async_trait]
impl<H: EngineHook> StorageEngine for FaultyEngine<H> {
    fn info(&self) -> &EngineInfo {
        &self.info
    }

    async fn state(&self, partition: u16) -> Result<PartitionState, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::State);
        self.around(call, self.hook.state(&self.engine, partition)).await
    }

    async fn changed(&self, heads: &[u64], timeout: Duration) -> Result<(), StorageFailure> {
        let call = EngineCall { partition: None, request: EngineRequest::Changed { heads, timeout } };
        self.around(call, self.hook.changed(&self.engine, heads, timeout)).await
    }

    async fn append(
        &self,
        partition: u16,
        batch: &[Event],
        atomicity: Atomicity,
        with: &Transaction,
    ) -> Result<Appended, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::Append { batch, atomicity, with });
        let performed = self.hook.transaction(with);
        self.around(call, self.hook.append(&self.engine, partition, batch, atomicity, &performed)).await
    }

    async fn remove(&self, partition: u16, removal: &Removal<'_>) -> Result<Removed, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::Remove(removal));
        let performed = self.hook.transaction(removal.with);
        let made = Removal { with: &performed, ..*removal };
        self.around(call, self.hook.remove(&self.engine, partition, &made)).await
    }

    async fn scan(&self, partition: u16, request: &Scan<'_>) -> Result<ScanPage, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::Scan(request));
        self.around(call, self.hook.scan(&self.engine, partition, request)).await
    }

    async fn at(&self, partition: u16, sequences: &[u64]) -> Result<Vec<Option<Entry>>, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::At(sequences));
        self.around(call, self.hook.at(&self.engine, partition, sequences)).await
    }

    async fn locate(&self, partition: u16, ids: &[&str]) -> Result<Vec<Option<IdState>>, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::Locate(ids));
        self.around(call, self.hook.locate(&self.engine, partition, ids)).await
    }

    async fn count(&self, partition: u16, filter: &Arc<Filter>, until: u64) -> Result<u64, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::Count { filter, until });
        self.around(call, self.hook.count(&self.engine, partition, filter, until)).await
    }

    async fn verify(&self, partition: u16, checked: Checked<'_>) -> Result<VerifyReport, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::Verify);
        self.around(call, self.engine.verify(partition, checked)).await
    }

    async fn scrub(&self, partition: u16, erased: bool) -> Result<Vec<String>, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::Scrub { erased });
        self.around(call, self.engine.scrub(partition, erased)).await
    }

    async fn occupied(&self) -> Result<Option<u64>, StorageFailure> {
        let call = EngineCall { partition: None, request: EngineRequest::Occupied };
        self.around(call, self.engine.occupied()).await
    }

    async fn get(&self, partition: u16, reads: &[Read]) -> Result<Snapshot, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::Get(reads));
        self.around(call, self.hook.get(&self.engine, partition, reads)).await
    }

    async fn commit(
        &self,
        partition: u16,
        transactions: &[Transaction],
    ) -> Result<Vec<Outcome>, StorageFailure> {
        let call = EngineCall::of(partition, EngineRequest::Commit(transactions));
        let performed: Vec<Transaction> = transactions.iter().map(|one| self.hook.transaction(one)).collect();
        self.around(call, self.hook.commit(&self.engine, partition, &performed)).await
    }
}
