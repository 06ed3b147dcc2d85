//! Performs transactions: each call of a function takes as many of them as fit.

use domain::{
    StorageFailure,
    ports::engine::{Durability, Guard, Outcome, Transaction, Write},
};
use redis::{Cmd, FromRedisValue, Value};

use crate::{
    client::{failure::unexpected_reply, optimistic_retry::OptimisticRetry, reply::text},
    engine::{partition::Partition, program::Program},
    server::functions,
};

/// The limits of one call: the number of transactions, and about how many bytes they have. A call should not block the
/// server for long.
const MOST_AT_ONCE: (usize, usize) = (128, 1024 * 1024);

/// The answer of the function.
enum Answer {
    /// The log epoch, and the outcome of each transaction.
    Done(u64, Vec<Outcome>),
    /// Nothing was done. The dictionary has other buckets than the caller knew, and the caller now knows them.
    Moved,
}

/// Performs transactions, each of them atomic.
pub(crate) async fn commit(
    partition: &Partition,
    transactions: &[Transaction],
) -> Result<Vec<Outcome>, StorageFailure> {
    Committer { partition }.commit(transactions).await
}

/// Commits transactions to one partition.
struct Committer<'p> {
    partition: &'p Partition,
}

impl Committer<'_> {
    async fn commit(&self, transactions: &[Transaction]) -> Result<Vec<Outcome>, StorageFailure> {
        if transactions.iter().all(Transaction::is_nothing) {
            return Ok(transactions.iter().map(|_| Outcome::Done { left_out: Vec::new() }).collect());
        }
        let mut outcomes = Vec::with_capacity(transactions.len());
        let mut rest = transactions;
        while !rest.is_empty() {
            let (some, later) = rest.split_at(fitting(rest));
            let (epoch, of_some) = self.commit_some(some).await?;
            let must_be_copied = some.iter().zip(&of_some).any(|(transaction, outcome)| {
                transaction.durability == Durability::Replicated && outcome.is_done()
            });
            if must_be_copied {
                self.partition.until_copied(epoch).await?;
            }
            outcomes.extend(of_some);
            rest = later;
        }
        Ok(outcomes)
    }

    /// Performs transactions in one call. Returns the log epoch and the outcome of each.
    async fn commit_some(&self, transactions: &[Transaction]) -> Result<(u64, Vec<Outcome>), StorageFailure> {
        let mut tries = OptimisticRetry::new();
        loop {
            let answer = self.partition.link().call_command(&self.commit_command(transactions)).await?;
            match self.read_commit(answer, transactions.len())? {
                Answer::Done(epoch, outcomes) => return Ok((epoch, outcomes)),
                Answer::Moved => tries.again().await?,
            }
        }
    }

    fn commit_command(&self, transactions: &[Transaction]) -> Cmd {
        let function = match transactions.first().is_some_and(is_for_full) {
            true => "commit_when_full",
            false => "commit",
        };
        let known = self.partition.known();
        let program = Program::of(self.partition.keys(), known, transactions);
        let mut command = Cmd::new();
        command.arg("FCALL").arg(functions::name(function)).arg(1 + program.keys().len());
        command.arg(self.partition.keys().meta()).arg(program.keys());
        match program.has_buckets() {
            true => command.arg(known.level).arg(known.split),
            false => command.arg("").arg(""),
        };
        program.put(&mut command);
        command
    }

    fn read_commit(&self, answer: Value, count: usize) -> Result<Answer, StorageFailure> {
        let Value::Array(parts) = answer else { return Err(unexpected_reply("a commit")) };
        match parts.as_slice() {
            [what, Value::Int(epoch), outcomes @ ..] if text(what) == Some("ok") => {
                self.partition.learn_epoch(*epoch as u64);
                let outcomes = match outcomes {
                    [] => (0..count).map(|_| Outcome::Done { left_out: Vec::new() }).collect(),
                    [Value::Array(outcomes), ..] if outcomes.len() == count => {
                        outcomes.iter().map(outcome).collect::<Result<_, _>>()?
                    }
                    _ => return Err(unexpected_reply("a commit")),
                };
                Ok(Answer::Done(*epoch as u64, outcomes))
            }
            [what, rest @ ..] if text(what) == Some("moved") => {
                self.partition.learn_moved(rest)?;
                Ok(Answer::Moved)
            }
            _ => Err(unexpected_reply("a commit")),
        }
    }
}

/// Parses the outcome of one transaction.
fn outcome(answer: &Value) -> Result<Outcome, StorageFailure> {
    match answer {
        Value::Int(0) => Ok(Outcome::Done { left_out: Vec::new() }),
        Value::Int(guard) => usize::try_from(-guard - 1)
            .map(|guard| Outcome::Refused { guard })
            .map_err(|_| unexpected_reply("a commit")),
        steps => FromRedisValue::from_redis_value_ref(steps)
            .map(|left_out| Outcome::Done { left_out })
            .map_err(|_| unexpected_reply("a commit")),
    }
}

/// Returns whether a transaction is performed even when the server's memory is full.
fn is_for_full(transaction: &Transaction) -> bool {
    transaction.even_when_full || transaction.only_removes()
}

/// Returns how many transactions from the start go in one call. A call has only transactions for a full server, or
/// only others.
fn fitting(transactions: &[Transaction]) -> usize {
    let is_first_for_full = transactions.first().is_some_and(is_for_full);
    let mut bytes = 0;
    let fits = |transaction: &&Transaction| {
        bytes += bytes_of(transaction);
        bytes <= MOST_AT_ONCE.1 && is_for_full(transaction) == is_first_for_full
    };
    transactions.iter().take(MOST_AT_ONCE.0).take_while(fits).count().max(1)
}

/// Returns about how many bytes a transaction has.
fn bytes_of(transaction: &Transaction) -> usize {
    let guard = |guard: &Guard| match guard {
        Guard::Is(row, value) => row.key.len() + value.len(),
        _ => 64,
    };
    let write = |write: &Write| match write {
        Write::Put(row, value) => row.key.len() + value.len(),
        Write::CountReplay { sequences, .. } => 4 * sequences.len(),
        _ => 64,
    };
    let step = |step: &domain::ports::engine::Step| {
        step.guards.iter().map(guard).sum::<usize>() + step.writes.iter().map(write).sum::<usize>()
    };
    32 + transaction.steps.iter().map(step).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use domain::ports::engine::{RowId, SpaceKind};

    use super::*;

    fn put(bytes: usize) -> Transaction {
        let mut transaction = Transaction::new();
        transaction.put(RowId::of(SpaceKind::Checkpoint, "a"), vec![0; bytes]);
        transaction
    }

    #[test]
    fn one_call_takes_what_fits_and_at_least_one() {
        assert_eq!(fitting(&[put(3 << 20), put(1)]), 1);
        assert_eq!(fitting(&[put(300 << 10), put(300 << 10), put(300 << 10), put(300 << 10)]), 3);
        assert_eq!(fitting(&vec![put(1); 300]), MOST_AT_ONCE.0);
    }

    #[test]
    fn what_a_full_server_takes_goes_apart_from_the_rest() {
        let all = [put(1).even_when_full(), Transaction::new(), put(1), put(1), put(1).even_when_full()];
        assert_eq!((fitting(&all), fitting(&all[2..]), fitting(&all[4..])), (2, 2, 1));
    }
}
