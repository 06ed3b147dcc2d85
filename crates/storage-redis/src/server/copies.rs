//! Copies: the options may require a number of confirmed copies before a write is answered.
//!
//! A server counts the copies of the last write of a connection, and of all earlier writes of any connection
//! ([`WAIT`](https://redis.io/docs/latest/commands/wait/)). So one short write on an idle connection, and the count
//! after it, cover every append that was answered before. This includes an event that was already stored, for which
//! nothing is written. A count says nothing about writes to another server. Therefore the short write is done only in
//! the log epoch in which the append was answered.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use domain::StorageFailure;
use redis::{Cmd, FromRedisValue, Value, cmd};
use tokio::sync::Mutex;

use crate::{
    client::{failure::unexpected_reply, reply::text},
    engine::partition::Partition,
    options::Copies,
    server::functions,
};

/// The largest part of a call's time that is spent on waiting for copies, as a divisor. The rest is for the network.
const SHARE: u32 = 2;

/// The counts of copies in one partition. One count runs at a time and covers all callers that came before its start.
#[derive(Default)]
pub(crate) struct Counts {
    asked: AtomicU64,
    last: Mutex<Count>,
}

/// The result of a count.
struct Count {
    /// The number of the last caller that the count covers.
    asked: u64,
    /// The log epoch of these callers.
    epoch: u64,
    outcome: Result<(), StorageFailure>,
}

impl Default for Count {
    fn default() -> Self {
        Self { asked: 0, epoch: 0, outcome: Ok(()) }
    }
}

impl Counts {
    /// Counts the copies of writes in a log epoch that were done before this call. If another count began after this
    /// call, its result is returned instead.
    async fn count<F>(&self, epoch: u64, make: impl FnOnce() -> F) -> Result<(), StorageFailure>
    where
        F: Future<Output = Result<(), StorageFailure>>,
    {
        let own = self.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let mut last = self.last.lock().await;
        if last.asked >= own && last.epoch == epoch {
            return last.outcome.clone();
        }
        let asked = self.asked.load(Ordering::Acquire);
        let outcome = make().await;
        *last = Count { asked, epoch, outcome: outcome.clone() };
        outcome
    }
}

impl Copies {
    /// Returns the command that waits for the copies and counts them.
    fn command(&self, within: Duration) -> Cmd {
        let mut command = match self.synced {
            true => cmd("WAITAOF"),
            false => cmd("WAIT"),
        };
        if self.synced {
            command.arg(1);
        }
        // Zero would wait without limit.
        command.arg(self.replicas).arg(within.as_millis().max(1) as u64);
        command
    }

    /// Returns the required number of copies. The server's own file counts as one if it must be synced.
    fn wanted(&self) -> u64 {
        u64::from(self.replicas) + u64::from(self.synced)
    }

    /// Returns the number of required copies that an answer confirms.
    fn confirmed(&self, answer: Value) -> Result<u64, StorageFailure> {
        let replicas = |count: i64| u64::try_from(count).unwrap_or(0).min(u64::from(self.replicas));
        match self.synced {
            true => {
                let (own, others): (i64, i64) = FromRedisValue::from_redis_value(answer)
                    .map_err(|_| unexpected_reply("a count of copies"))?;
                Ok(u64::from(own > 0) + replicas(others))
            }
            false => match answer {
                Value::Int(count) => Ok(replicas(count)),
                _ => Err(unexpected_reply("a count of copies")),
            },
        }
    }
}

impl Partition {
    /// Waits until the required copies of all writes that were answered in this log epoch are confirmed.
    ///
    /// # Errors
    /// Returns [`StorageFailure::TooFewCopies`] when they are not confirmed in time. Returns
    /// [`StorageFailure::Unknown`] when another server has replaced the server that answered.
    pub(crate) async fn until_copied(&self, epoch: u64) -> Result<(), StorageFailure> {
        let Some(copies) = self.options().copies else { return Ok(()) };
        self.counts().count(epoch, || self.count_copies(copies, epoch)).await
    }

    async fn count_copies(&self, copies: Copies, epoch: u64) -> Result<(), StorageFailure> {
        let mut mark = Cmd::new();
        mark.arg("FCALL").arg(functions::name("mark")).arg(1).arg(self.keys().meta()).arg(epoch);
        let within = copies.within.min(self.options().timeout / SHARE);
        let answer = self.link().call_and_wait(&mark, &copies.command(within)).await?;
        let Value::Array(marked) = answer.0 else { return Err(unexpected_reply("a count of copies")) };
        match marked.first().and_then(text) {
            Some("ok") => {}
            _ => {
                return Err(StorageFailure::Unknown(
                    "the server that stored it was replaced before copies of it were confirmed".to_owned(),
                ));
            }
        }
        let (confirmed, wanted) = (copies.confirmed(answer.1)?, copies.wanted());
        match confirmed >= wanted {
            true => Ok(()),
            false => Err(StorageFailure::TooFewCopies { confirmed, wanted, waited: within }),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn one_count_serves_all_callers_that_came_before_it_began() {
        let (counts, made) = (Arc::new(Counts::default()), Arc::new(AtomicU64::new(0)));
        let gate = Arc::new(Semaphore::new(0));
        let caller = |epoch: u64| {
            let (counts, made, gate) = (counts.clone(), made.clone(), gate.clone());
            tokio::spawn(async move {
                let make = || async {
                    gate.acquire().await.unwrap().forget();
                    made.fetch_add(1, Ordering::AcqRel);
                    Ok(())
                };
                counts.count(epoch, make).await
            })
        };
        // The first call counts. Nine more arrive meanwhile, and one further count covers all nine.
        let first = caller(1);
        while counts.asked.load(Ordering::Acquire) < 1 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..9).map(|_| caller(1)).collect();
        while counts.asked.load(Ordering::Acquire) < 10 {
            tokio::task::yield_now().await;
        }
        gate.add_permits(2);
        first.await.unwrap().unwrap();
        for other in others {
            other.await.unwrap().unwrap();
        }
        assert_eq!(made.load(Ordering::Acquire), 2);
        // A count of another log epoch does not cover this caller.
        gate.add_permits(1);
        caller(2).await.unwrap().unwrap();
        assert_eq!(made.load(Ordering::Acquire), 3);
    }

    #[tokio::test]
    async fn who_comes_after_a_count_began_is_not_in_it() {
        let counts = Counts::default();
        let failed = StorageFailure::TooFewCopies { confirmed: 0, wanted: 1, waited: Duration::ZERO };
        let once = counts.count(1, || async { Err(failed.clone()) }).await;
        assert_eq!(once, Err(failed));
        assert_eq!(counts.count(1, || async { Ok(()) }).await, Ok(()), "it is counted again");
    }

    #[test]
    fn the_servers_own_file_is_a_copy_where_it_is_asked_for() {
        let within = Duration::from_millis(1500);
        let in_memory = Copies { replicas: 2, synced: false, within };
        let synced = Copies { synced: true, ..in_memory };
        assert_eq!(
            in_memory.command(within).get_packed_command(),
            b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$4\r\n1500\r\n"
        );
        assert_eq!(
            synced.command(Duration::ZERO).get_packed_command(),
            b"*4\r\n$7\r\nWAITAOF\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n1\r\n"
        );
        assert_eq!((in_memory.wanted(), synced.wanted()), (2, 3));
        assert_eq!(in_memory.confirmed(Value::Int(5)).unwrap(), 2);
        let pair = |own, others| Value::Array(vec![Value::Int(own), Value::Int(others)]);
        assert_eq!(synced.confirmed(pair(0, 2)).unwrap(), 2);
        assert_eq!(synced.confirmed(pair(1, 2)).unwrap(), 3);
        assert!(synced.confirmed(Value::Int(1)).is_err());
    }
}
