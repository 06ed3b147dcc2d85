//! One partition's engine calls, as the rules make them.

use domain::{
    StorageFailure,
    ports::{
        StorageEngine,
        engine::{Entry, IdState, Outcome, PartitionState, Read, Snapshot, SpaceKind, Transaction},
    },
};

/// One partition of a store.
#[derive(Clone, Copy)]
pub(crate) struct Partition<'s> {
    pub(crate) engine: &'s dyn StorageEngine,
    pub(crate) number: u16,
}

impl<'s> Partition<'s> {
    pub(crate) fn new(engine: &'s dyn StorageEngine, number: u16) -> Self {
        Self { engine, number }
    }

    pub(crate) async fn state(self) -> Result<PartitionState, StorageFailure> {
        self.engine.state(self.number).await
    }

    pub(crate) async fn get(self, reads: &[Read]) -> Result<Snapshot, StorageFailure> {
        self.engine.get(self.number, reads).await
    }

    pub(crate) async fn commit(self, transactions: &[Transaction]) -> Result<Vec<Outcome>, StorageFailure> {
        let outcomes = self.engine.commit(self.number, transactions).await?;
        if outcomes.len() != transactions.len() {
            return Err(StorageFailure::Other(format!(
                "the engine answered {} of {} transactions",
                outcomes.len(),
                transactions.len()
            )));
        }
        Ok(outcomes)
    }

    /// Performs one transaction.
    pub(crate) async fn commit_one(self, transaction: &Transaction) -> Result<Outcome, StorageFailure> {
        let outcome = self.commit(std::slice::from_ref(transaction)).await?.pop();
        outcome.ok_or_else(|| StorageFailure::Other("the engine answered nothing".to_owned()))
    }

    /// Performs one transaction; whether it was performed.
    pub(crate) async fn is_committed(self, transaction: &Transaction) -> Result<bool, StorageFailure> {
        Ok(self.commit_one(transaction).await?.is_done())
    }

    /// The scopes of kinds of rows; none of a caller that may not list them.
    pub(crate) async fn scopes(self, kinds: &[SpaceKind]) -> Result<Option<Vec<Vec<u8>>>, StorageFailure> {
        let reads: Vec<Read> = kinds.iter().copied().map(Read::Scopes).collect();
        let mut found = match self.get(&reads).await {
            Err(StorageFailure::Denied(_)) => return Ok(None),
            found => found?,
        };
        let scopes = kinds.iter().flat_map(|_| found.range()).map(|(scope, _)| scope);
        Ok(Some(scopes.collect()))
    }

    pub(crate) async fn at(self, sequences: &[u64]) -> Result<Vec<Option<Entry>>, StorageFailure> {
        match sequences.is_empty() {
            true => Ok(Vec::new()),
            false => self.engine.at(self.number, sequences).await,
        }
    }

    pub(crate) async fn locate(self, ids: &[&str]) -> Result<Vec<Option<IdState>>, StorageFailure> {
        match ids.is_empty() {
            true => Ok(Vec::new()),
            false => self.engine.locate(self.number, ids).await,
        }
    }
}
