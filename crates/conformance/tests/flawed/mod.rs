//! Naive engines with one fault each.

use std::{sync::Arc, time::Duration};

use crate::naive::Naive;
use async_trait::async_trait;
use domain::{
    Event, Filter, StorageFailure,
    ports::{
        Atomicity, Order, StorageEngine,
        engine::{
            Appended, Entry, Guard, IdState, Outcome, PartitionState, Read, Removal, RemovalKind, Removed,
            Scan, ScanPage, Snapshot, Transaction, Write,
        },
    },
};
use event_replay_conformance::{
    EngineHarness, EngineHook, EngineStorage, FaultyEngine, ManualClock, TransactionExt,
};

/// The fault of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// The engine ignores all guards.
    IgnoresGuards,
    /// The engine ignores guards on generations.
    IgnoresGenerations,
    /// The engine ignores guards on ids.
    IgnoresGuardsOnIds,
    /// The engine ignores guards on newer events.
    IgnoresNewerEvents,
    /// A guard on a value holds for any value.
    TakesAnyValue,
    /// The engine ignores guards of later steps and performs these steps.
    PerformsEveryStep,
    /// The outcome does not name a later step that is left out.
    NamesNoStep,
    /// A refusal always names the first guard.
    NamesTheFirstGuard,
    /// An addition is a read followed by a separate write.
    LosesAdditions,
    /// Negative amounts are added as positive amounts.
    AddsNoNegatives,
    /// The engine does not clear spaces.
    ForgetsToClear,
    /// The clear of a space also removes the rows that its transaction puts there.
    ClearsLast,
    /// The engine does not delete rows.
    ForgetsToDelete,
    /// The engine does not store tombstones.
    ForgetsTombstones,
    /// A replay is counted for each occurrence of a sequence.
    CountsEachMention,
    /// The engine performs the transactions of a call in reverse order.
    CommitsBackwards,
    /// After a refused transaction, the engine skips the rest of the call.
    StopsAtTheFirstRefusal,
    /// The engine evaluates guards at the start of the call and writes later.
    JudgesTooEarly,
    /// A range includes its lower bound.
    IncludesTheLowerBound,
    /// A range includes its upper bound.
    IncludesTheUpperBound,
    /// A range always has the same direction.
    NeverReverses,
    /// A range ignores its limit.
    IgnoresLimits,
    /// The scopes of a kind share their rows.
    IgnoresScopes,
    /// A key ends at its first zero byte.
    CutsKeys,
    /// All partitions share their data.
    MixesPartitions,
    /// The transaction of an append is performed only if an event is new.
    AppendsWithout,
    /// Events are appended even if a guard does not hold.
    AppendsUnguarded,
    /// A batch is never all or nothing.
    AlwaysEach,
    /// The last event of a full page is lost.
    LosesTheLastOfAPage,
    /// A scan ignores its upper bound.
    ForgetsUntil,
    /// A page ignores its limit of bytes.
    IgnoresBytes,
    /// The state of a page is read after the page.
    TellsTheStateTooLate,
    /// Results for missing events are omitted.
    LeavesOutWhatIsMissing,
    /// Erased ids are reported as unknown.
    ForgetsErasures,
    /// The upper bound of a count is exclusive.
    CountsShort,
    /// A caller that waits for a change waits until its timeout.
    NeverWakes,
    /// An erasure is performed as a trim.
    TrimsInsteadOfErasing,
    /// The transaction of a removal is not performed.
    RemovesWithout,
    /// Events are removed even if a guard does not hold.
    RemovesUnguarded,
}

/// Returns one write for each occurrence of a sequence.
fn each_mention(write: &Write) -> Vec<Write> {
    match write {
        Write::CountReplay { sequences, at } => {
            let count = |sequence: &u64| Write::CountReplay { sequences: vec![*sequence], at: *at };
            sequences.iter().map(count).collect()
        }
        write => vec![write.clone()],
    }
}

/// Reads each number of an addition, and puts the sum a moment later.
async fn commit_with_slow_additions(
    engine: &Arc<dyn StorageEngine>,
    partition: u16,
    transactions: &[Transaction],
) -> Result<Vec<Outcome>, StorageFailure> {
    let mut outcomes = Vec::new();
    for transaction in transactions {
        let mut transaction = transaction.clone();
        for write in transaction.steps.iter_mut().flat_map(|step| &mut step.writes) {
            let Write::Add(row, amount) = write else { continue };
            let value = engine.get(partition, &[Read::Row(row.clone())]).await?.row().unwrap_or_default();
            let number: i64 = String::from_utf8(value).unwrap().parse().unwrap_or(0);
            *write = Write::Put(row.clone(), (number + *amount).to_string().into_bytes());
        }
        tokio::task::yield_now().await;
        outcomes.extend(engine.commit(partition, &[transaction]).await?);
    }
    Ok(outcomes)
}

/// Evaluates the guards, and performs the writes a moment later.
async fn commit_late(
    engine: &Arc<dyn StorageEngine>,
    partition: u16,
    transactions: &[Transaction],
) -> Result<Vec<Outcome>, StorageFailure> {
    let guards: Vec<Transaction> = transactions.iter().map(|one| one.keeping_writes(|_| false)).collect();
    let outcomes = engine.commit(partition, &guards).await?;
    tokio::time::sleep(Duration::from_millis(1)).await;
    for (transaction, outcome) in transactions.iter().zip(&outcomes) {
        if outcome.is_done() {
            engine.commit(partition, &[transaction.keeping_guards(|_| false)]).await?;
        }
    }
    Ok(outcomes)
}

/// A hook with a fault.
struct Flaw {
    fault: Fault,
}

impl Flaw {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn partition(&self, partition: u16) -> u16 {
        if self.is(Fault::MixesPartitions) { 0 } else { partition }
    }

    fn read(&self, read: &Read) -> Read {
        let mut read = read.clone();
        if let Read::Range { after, before, reverse, limit, .. } = &mut read {
            match self.fault {
                // A key with an appended zero byte is the next byte string after the key. So this upper bound includes
                // the key.
                Fault::IncludesTheUpperBound => before.iter_mut().for_each(|key| key.push(0)),
                Fault::IncludesTheLowerBound => {
                    if let Some(last) = after.as_mut().and_then(|key| key.last_mut()) {
                        *last = last.saturating_sub(1);
                    }
                }
                Fault::NeverReverses => *reverse = false,
                Fault::IgnoresLimits => *limit = usize::MAX,
                _ => {}
            }
        }
        if let Read::Row(row) = &mut read {
            self.spoil(&mut row.key);
        }
        if self.is(Fault::IgnoresScopes) {
            match &mut read {
                Read::Row(row) => row.space.scope.clear(),
                Read::Range { space, .. } | Read::Count(space) => space.scope.clear(),
                Read::Scopes(_) => {}
            }
        }
        read
    }

    fn spoil(&self, key: &mut Vec<u8>) {
        if self.is(Fault::CutsKeys) {
            key.truncate(key.iter().position(|byte| *byte == 0).unwrap_or(key.len()));
        }
    }

    fn write(&self, write: &mut Write) {
        match write {
            Write::Put(row, _) | Write::Delete(row) | Write::Add(row, _) => {
                self.spoil(&mut row.key);
                if self.is(Fault::IgnoresScopes) {
                    row.space.scope.clear();
                }
            }
            Write::Clear(space) if self.is(Fault::IgnoresScopes) => space.scope.clear(),
            _ => {}
        }
        if let Write::Add(_, amount) = write
            && self.is(Fault::AddsNoNegatives)
        {
            *amount = amount.saturating_abs();
        }
    }
}

#[async_trait]
impl EngineHook for Flaw {
    fn transaction(&self, transaction: &Transaction) -> Transaction {
        let mut flawed = match self.fault {
            Fault::IgnoresGuards => transaction.keeping_guards(|_| false),
            Fault::IgnoresGenerations => {
                transaction.keeping_guards(|guard| !matches!(guard, Guard::Generation(_)))
            }
            Fault::IgnoresGuardsOnIds => transaction.keeping_guards(|guard| !matches!(guard, Guard::Id(..))),
            Fault::IgnoresNewerEvents => {
                transaction.keeping_guards(|guard| !matches!(guard, Guard::NoneNewer(_)))
            }
            Fault::ForgetsToClear => transaction.keeping_writes(|write| !matches!(write, Write::Clear(_))),
            Fault::ForgetsToDelete => transaction.keeping_writes(|write| !matches!(write, Write::Delete(_))),
            Fault::ForgetsTombstones => {
                transaction.keeping_writes(|write| !matches!(write, Write::Tombstone(_)))
            }
            _ => transaction.clone(),
        };
        for (number, step) in flawed.steps.iter_mut().enumerate() {
            if self.is(Fault::PerformsEveryStep) && number > 0 {
                step.guards.clear();
            }
            if self.is(Fault::ClearsLast) {
                step.writes.sort_by_key(|write| matches!(write, Write::Clear(_)));
            }
            if self.is(Fault::TakesAnyValue) {
                for guard in &mut step.guards {
                    if let Guard::Is(row, _) = guard {
                        *guard = Guard::Present(row.clone());
                    }
                }
            }
            if self.is(Fault::CountsEachMention) {
                step.writes = step.writes.iter().flat_map(each_mention).collect();
            }
            step.writes.iter_mut().for_each(|write| self.write(write));
        }
        flawed
    }

    async fn commit(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        transactions: &[Transaction],
    ) -> Result<Vec<Outcome>, StorageFailure> {
        let partition = self.partition(partition);
        match self.fault {
            Fault::CommitsBackwards => {
                let backwards: Vec<Transaction> = transactions.iter().rev().cloned().collect();
                let mut outcomes = engine.commit(partition, &backwards).await?;
                outcomes.reverse();
                Ok(outcomes)
            }
            Fault::StopsAtTheFirstRefusal => {
                let mut outcomes = Vec::new();
                for transaction in transactions {
                    if outcomes.iter().all(Outcome::is_done) {
                        outcomes.extend(engine.commit(partition, std::slice::from_ref(transaction)).await?);
                    } else {
                        outcomes.push(Outcome::Refused { guard: 0 });
                    }
                }
                Ok(outcomes)
            }
            Fault::LosesAdditions => commit_with_slow_additions(engine, partition, transactions).await,
            Fault::JudgesTooEarly => commit_late(engine, partition, transactions).await,
            _ => {
                let spoilt = |outcome| match (outcome, self.fault) {
                    (Outcome::Done { .. }, Fault::NamesNoStep) => Outcome::Done { left_out: Vec::new() },
                    (Outcome::Refused { .. }, Fault::NamesTheFirstGuard) => Outcome::Refused { guard: 0 },
                    (outcome, _) => outcome,
                };
                Ok(engine.commit(partition, transactions).await?.into_iter().map(spoilt).collect())
            }
        }
    }

    async fn append(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        batch: &[Event],
        atomicity: Atomicity,
        with: &Transaction,
    ) -> Result<Appended, StorageFailure> {
        let partition = self.partition(partition);
        let atomicity = if self.is(Fault::AlwaysEach) { Atomicity::Each } else { atomicity };
        let nothing = Transaction::new();
        match self.fault {
            Fault::AppendsWithout => {
                let ids: Vec<&str> = batch.iter().map(Event::id).collect();
                let is_new = engine.locate(partition, &ids).await?.iter().any(Option::is_none);
                engine.append(partition, batch, atomicity, if is_new { with } else { &nothing }).await
            }
            Fault::AppendsUnguarded => {
                let appended = engine.append(partition, batch, atomicity, &nothing).await?;
                let outcome = engine.commit(partition, std::slice::from_ref(with)).await?.remove(0);
                Ok(match outcome {
                    Outcome::Done { .. } => appended,
                    Outcome::Refused { guard } => Appended::Refused { guard },
                })
            }
            _ => engine.append(partition, batch, atomicity, with).await,
        }
    }

    async fn remove(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        removal: &Removal<'_>,
    ) -> Result<Removed, StorageFailure> {
        let partition = self.partition(partition);
        let mut removal = *removal;
        if self.is(Fault::TrimsInsteadOfErasing) && removal.kind == RemovalKind::Erase {
            removal.kind = RemovalKind::Among;
        }
        let mut with = removal.with.clone();
        match self.fault {
            Fault::RemovesWithout => with = with.keeping_writes(|_| false),
            Fault::RemovesUnguarded => with = with.keeping_guards(|_| false),
            _ => {}
        }
        engine.remove(partition, &Removal { with: &with, ..removal }).await
    }

    async fn get(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        reads: &[Read],
    ) -> Result<Snapshot, StorageFailure> {
        let reads: Vec<Read> = reads.iter().map(|read| self.read(read)).collect();
        engine.get(self.partition(partition), &reads).await
    }

    async fn scan(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        request: &Scan<'_>,
    ) -> Result<ScanPage, StorageFailure> {
        let mut request = request.clone();
        match self.fault {
            Fault::ForgetsUntil if request.order == Order::OldestFirst => request.until = None,
            Fault::IgnoresBytes => request.max_bytes = u64::MAX,
            _ => {}
        }
        let partition = self.partition(partition);
        let mut page = engine.scan(partition, &request).await?;
        if self.is(Fault::LosesTheLastOfAPage) && page.next.is_some() && page.entries.len() > 1 {
            page.entries.pop();
        }
        if self.is(Fault::TellsTheStateTooLate) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            page.state = engine.state(partition).await?;
        }
        Ok(page)
    }

    async fn at(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        sequences: &[u64],
    ) -> Result<Vec<Option<Entry>>, StorageFailure> {
        let mut entries = engine.at(self.partition(partition), sequences).await?;
        if self.is(Fault::LeavesOutWhatIsMissing) {
            entries.retain(Option::is_some);
        }
        Ok(entries)
    }

    async fn locate(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        ids: &[&str],
    ) -> Result<Vec<Option<IdState>>, StorageFailure> {
        let mut known = engine.locate(self.partition(partition), ids).await?;
        if self.is(Fault::ForgetsErasures) {
            known.iter_mut().for_each(|state| *state = state.filter(|state| *state != IdState::Erased));
        }
        Ok(known)
    }

    async fn count(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
        filter: &Arc<Filter>,
        until: u64,
    ) -> Result<u64, StorageFailure> {
        let until = if self.is(Fault::CountsShort) { until.saturating_sub(1) } else { until };
        engine.count(self.partition(partition), filter, until).await
    }

    async fn state(
        &self,
        engine: &Arc<dyn StorageEngine>,
        partition: u16,
    ) -> Result<PartitionState, StorageFailure> {
        engine.state(self.partition(partition)).await
    }

    async fn changed(
        &self,
        engine: &Arc<dyn StorageEngine>,
        heads: &[u64],
        timeout: Duration,
    ) -> Result<(), StorageFailure> {
        if self.is(Fault::NeverWakes) {
            tokio::time::sleep(timeout).await;
            return Ok(());
        }
        engine.changed(heads, timeout).await
    }
}

/// Creates naive engines with a fault.
pub(crate) struct FlawedHarness(pub(crate) Fault);

#[async_trait]
impl EngineHarness for FlawedHarness {
    fn partitions(&self) -> u16 {
        2
    }

    async fn fresh(&self, clock: ManualClock) -> Box<dyn EngineStorage> {
        Box::new(FlawedStorage(Naive::new(clock, 2), self.0))
    }
}

struct FlawedStorage(Naive, Fault);

#[async_trait]
impl EngineStorage for FlawedStorage {
    async fn open(&self) -> Arc<dyn StorageEngine> {
        Arc::new(FaultyEngine::new(self.0.open().await, Arc::new(Flaw { fault: self.1 })))
    }
}
