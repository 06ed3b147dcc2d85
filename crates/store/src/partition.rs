//! The engine calls of one partition, in the forms that the rules use.

use std::sync::Arc;

use domain::{
    Filter, StorageFailure,
    ports::{
        StorageEngine,
        engine::{
            Entry, IdState, Outcome, PartitionState, Read, RowId, Scan, ScanPage, Snapshot, Space, SpaceKind,
            Transaction,
        },
    },
};
use jiff::Timestamp;

use crate::{retry::OptimisticRetry, rows::Rows};

/// One partition of a store.
#[derive(Clone, Copy)]
pub(crate) struct Partition<'s> {
    pub(crate) engine: &'s dyn StorageEngine,
    pub(crate) number: u16,
}

/// The decision on one of several items.
pub(crate) enum Decision<T> {
    /// The outcome is final, and nothing changes.
    Settled(T),
    /// The outcome holds after the transaction is performed.
    Change(T, Transaction),
}

impl<'s> Partition<'s> {
    pub(crate) fn new(engine: &'s dyn StorageEngine, number: u16) -> Self {
        Self { engine, number }
    }

    pub(crate) async fn state(self) -> Result<PartitionState, StorageFailure> {
        self.engine.state(self.number).await
    }

    /// Returns the time of the store's clock.
    pub(crate) async fn now(self) -> Result<Timestamp, StorageFailure> {
        Ok(self.get(&[]).await?.now)
    }

    pub(crate) async fn get(self, reads: &[Read]) -> Result<Snapshot, StorageFailure> {
        self.engine.get(self.number, reads).await
    }

    /// Returns the value of one row.
    pub(crate) async fn row(self, row: RowId) -> Result<Option<Vec<u8>>, StorageFailure> {
        Ok(self.get(&[Read::Row(row)]).await?.row())
    }

    /// Returns every row of a space.
    pub(crate) async fn all(self, space: Space) -> Result<Rows, StorageFailure> {
        Ok(self.all_of([space]).await?.range())
    }

    /// Returns every row of several spaces, in one call.
    pub(crate) async fn all_of(
        self,
        spaces: impl IntoIterator<Item = Space>,
    ) -> Result<Snapshot, StorageFailure> {
        self.get(&spaces.into_iter().map(Read::all).collect::<Vec<_>>()).await
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

    /// Performs one transaction. Returns whether it was performed.
    pub(crate) async fn is_committed(self, transaction: &Transaction) -> Result<bool, StorageFailure> {
        Ok(self.commit_one(transaction).await?.is_done())
    }

    /// Reads rows, decides on them, and writes the decision. A decision is an answer, with a transaction if something
    /// changes. The transaction must guard the rows that the decision depends on. When the engine refuses it, the loop
    /// reads and decides again.
    pub(crate) async fn decide<T, E: From<StorageFailure>>(
        self,
        reads: &[Read],
        mut decision: impl FnMut(Snapshot) -> Result<(T, Option<Transaction>), E>,
    ) -> Result<T, E> {
        let mut retry = OptimisticRetry::new();
        loop {
            let (answer, transaction) = decision(self.get(reads).await?)?;
            match transaction {
                Some(transaction) if !self.is_committed(&transaction).await? => retry.again().await?,
                _ => return Ok(answer),
            }
        }
    }

    /// Decides on several items at once, each with its own transaction. Items with a refused transaction are decided
    /// again. `decide` returns one decision for each item, in order.
    pub(crate) async fn decide_each<I: Copy, T, E: From<StorageFailure>, F>(
        self,
        items: &[I],
        decide: impl Fn(Vec<I>) -> F,
    ) -> Result<Vec<T>, E>
    where
        F: Future<Output = Result<Vec<Decision<T>>, E>>,
    {
        let mut outcomes: Vec<Option<T>> = items.iter().map(|_| None).collect();
        let mut retry = OptimisticRetry::new();
        loop {
            let is_open = |(item, outcome): (&I, &Option<T>)| outcome.is_none().then_some(*item);
            let open: Vec<I> = items.iter().zip(&outcomes).filter_map(is_open).collect();
            let (mut settled, mut transactions) = (Vec::with_capacity(open.len()), Vec::new());
            for decision in decide(open).await? {
                match decision {
                    Decision::Settled(outcome) => settled.push((outcome, false)),
                    Decision::Change(outcome, transaction) => {
                        settled.push((outcome, true));
                        transactions.push(transaction);
                    }
                }
            }
            let mut performed =
                self.commit(&transactions).await?.into_iter().map(|outcome| outcome.is_done());
            let open = outcomes.iter_mut().filter(|outcome| outcome.is_none());
            for (own, (outcome, changes)) in open.zip(settled) {
                *own = (!changes || performed.next() == Some(true)).then_some(outcome);
            }
            if outcomes.iter().all(Option::is_some) {
                return Ok(outcomes.into_iter().flatten().collect());
            }
            retry.again().await?;
        }
    }

    /// Returns the scopes of kinds of rows. Returns none when the user of the store may not list them.
    pub(crate) async fn scopes(self, kinds: &[SpaceKind]) -> Result<Option<Vec<Vec<u8>>>, StorageFailure> {
        let reads: Vec<Read> = kinds.iter().copied().map(Read::Scopes).collect();
        let mut found = match self.get(&reads).await {
            Err(StorageFailure::Denied(_)) => return Ok(None),
            found => found?,
        };
        let scopes = kinds.iter().flat_map(|_| found.range()).map(|(scope, _)| scope);
        Ok(Some(scopes.collect()))
    }

    pub(crate) async fn scan(self, request: &Scan<'_>) -> Result<ScanPage, StorageFailure> {
        self.engine.scan(self.number, request).await
    }

    /// Returns how many events up to a sequence match.
    pub(crate) async fn count(self, filter: &Arc<Filter>, until: u64) -> Result<u64, StorageFailure> {
        self.engine.count(self.number, filter, until).await
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

    /// Returns the log's state of one id.
    pub(crate) async fn locate_one(self, id: &str) -> Result<Option<IdState>, StorageFailure> {
        Ok(self.locate(&[id]).await?.pop().flatten())
    }

    /// Returns the events of these ids. Each id gets one answer: its state in the log, and its event if the log has it.
    pub(crate) async fn entries_of(
        self,
        ids: &[&str],
    ) -> Result<Vec<(Option<IdState>, Option<Entry>)>, StorageFailure> {
        let states = self.locate(ids).await?;
        let sequence = |state: &Option<IdState>| match state {
            Some(IdState::Stored(sequence)) => Some(*sequence),
            _ => None,
        };
        let sequences: Vec<u64> = states.iter().filter_map(sequence).collect();
        let mut entries = self.at(&sequences).await?.into_iter();
        let entry = |state| (state, sequence(&state).and_then(|_| entries.next().flatten()));
        Ok(states.into_iter().map(entry).collect())
    }
}
