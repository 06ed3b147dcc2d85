//! The writing thread: one for each process and store. Calls that arrive during a commit share the next commit.

mod calls;
pub(crate) mod change;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use domain::{
    Event, StorageFailure,
    ports::{
        Atomicity, Clock,
        engine::{Appended, Outcome, Transaction},
    },
    time::unix_micros,
};
use rusqlite::{Connection, TransactionBehavior};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot, watch},
};

use self::{
    calls::{Call, Calls, Done, Reply},
    change::Change,
};
use crate::{
    connection::{self, Role},
    failure::{self, sqlite},
    file::{SqliteOptions, writable},
    index::terms::Kinds,
    log::fold::{Tail, TailLimits},
    reserve::{self, Reserve},
    rows::KnownRows,
    state::State,
};

/// Number of calls that may wait for the writer. When the queue is full, further callers wait for a free slot.
const QUEUE: usize = 1024;
/// Idle time after which the writer indexes the tail.
const QUIET_AFTER: Duration = Duration::from_millis(100);

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

enum Command {
    Call(Call),
    Run(Job),
    Stop,
}

/// Whether a commit waits for the disk. A power cut may undo the last commits that did not wait, each as a whole. A
/// crash of the process undoes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    Wait,
    Later,
}

/// A handle on the writing thread. The thread ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct WriterHandle {
    commands: mpsc::Sender<Command>,
}

/// The state of the writing thread.
pub(crate) struct Writer {
    connection: Connection,
    reserve: Reserve,
    clock: Arc<dyn Clock>,
    kinds: Kinds,
    tail: Tail,
    rows: KnownRows,
    tail_limits: TailLimits,
    /// Number of unindexed events after this thread's last commit.
    unindexed: u64,
    /// Head and number of events after this thread's last commit. If the file has other values, another process
    /// appended or removed events, and the tail may be wrong.
    known: (u64, u64),
    commits: watch::Sender<u64>,
    /// The current setting of the connection.
    flush: Flush,
}

impl WriterHandle {
    /// Opens the file for writing and starts the thread.
    pub(crate) fn open(
        options: &SqliteOptions,
        commits: watch::Sender<u64>,
    ) -> Result<(Self, JoinHandle<()>), StorageFailure> {
        let (commands, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            connection: writable(&options.path, Role::Write)?,
            reserve: Reserve::of(&options.path),
            clock: options.clock.clone(),
            kinds: Kinds::default(),
            tail: Tail::default(),
            rows: KnownRows::default(),
            tail_limits: TailLimits { quiet: options.tail_events, bulk: options.bulk_tail_events },
            unindexed: 0,
            known: (0, 0),
            commits,
            flush: Flush::Wait,
        };
        let timer = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|error| StorageFailure::Other(format!("cannot start a timer: {error}")))?;
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".into())
            .spawn(move || writer.serve(queue, &timer))
            .map_err(|error| StorageFailure::Other(format!("cannot start the writing thread: {error}")))?;
        Ok((Self { commands }, thread))
    }

    /// Appends a batch and performs a transaction, in a commit that other calls may share.
    pub(crate) async fn append(
        &self,
        batch: Vec<Event>,
        atomicity: Atomicity,
        with: Transaction,
    ) -> Result<Appended, StorageFailure> {
        self.call(|reply| Call::Append { batch, atomicity, with, reply }).await
    }

    /// Performs transactions, in a commit that other calls may share.
    pub(crate) async fn commit(
        &self,
        transactions: Vec<Transaction>,
    ) -> Result<Vec<Outcome>, StorageFailure> {
        self.call(|reply| Call::Commit { transactions, reply }).await
    }

    /// Runs a job on the writing thread.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, StorageFailure>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writer) -> Result<T, StorageFailure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |writer| {
            // The send fails if the caller no longer waits. That is no error.
            let _ = reply.send(job(writer));
        });
        self.send(Command::Run(job)).await?;
        answer.await.map_err(|_| gone())?
    }

    /// Makes the thread end after all commands that were queued before.
    pub(crate) async fn stop(&self) {
        let _ = self.send(Command::Stop).await;
    }

    async fn call<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, StorageFailure> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Call(call(reply))).await?;
        answer.await.map_err(|_| gone())?
    }

    async fn send(&self, command: Command) -> Result<(), StorageFailure> {
        self.commands.send(command).await.map_err(|_| gone())
    }
}

fn gone() -> StorageFailure {
    StorageFailure::Unknown("the writing thread ended before it answered".into())
}

impl Writer {
    fn serve(mut self, mut queue: mpsc::Receiver<Command>, timer: &Runtime) {
        let mut next = queue.blocking_recv();
        while let Some(command) = next.take() {
            match command {
                Command::Run(job) => self.survive(|writer| job(writer)),
                Command::Stop => return self.fold_the_rest(),
                Command::Call(first) => {
                    let (calls, other) = gather(first, &mut queue);
                    self.survive(|writer| writer.perform(calls));
                    next = other;
                }
            }
            if next.is_none() {
                next = self.wait(&mut queue, timer);
            }
        }
        self.fold_the_rest();
    }

    /// Runs `work` and catches a panic, which would be a bug of this program. The panic rolls the transaction back, and
    /// the callers receive an unknown outcome. The store stays usable.
    fn survive(&mut self, work: impl FnOnce(&mut Self)) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            tracing::error!("a change to the store panicked and was rolled back");
            self.kinds.forget();
            self.tail.clear();
            self.rows.forget();
        }
    }

    /// Waits for the next command. If none arrives for a while, the tail is indexed during the wait.
    fn wait(&mut self, queue: &mut mpsc::Receiver<Command>, timer: &Runtime) -> Option<Command> {
        if self.unindexed >= self.tail_limits.quiet {
            let soon = timer.block_on(async { tokio::time::timeout(QUIET_AFTER, queue.recv()).await });
            match soon {
                Ok(next) => return next,
                Err(_) => self.fold_the_rest(),
            }
        }
        queue.blocking_recv()
    }

    /// Indexes the tail after a bulk of events. If this fails, readers scan a longer tail, and the next append tries
    /// again.
    fn fold_the_rest(&mut self) {
        if self.unindexed < self.tail_limits.quiet {
            return;
        }
        if let Err(failure) = self.transact(Flush::Wait, |change| change.fold()) {
            tracing::warn!(%failure, "the index could not catch up with the log");
        }
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Performs calls in one commit. If the commit meets damage, each call is performed alone, so that only the
    /// affected call fails.
    fn perform(&mut self, calls: Calls) {
        match self.attempt(&calls) {
            Ok(done) => calls.answer(done),
            // On a full disk, each call is performed alone. Calls that only remove can succeed, and calls that add
            // fail.
            Err(StorageFailure::Corrupt(_) | StorageFailure::Full(_)) if calls.len() > 1 => {
                calls.each_alone().for_each(|call| self.perform(call));
            }
            Err(StorageFailure::Full(_)) if calls.may_use_the_reserve() && self.give_up_the_reserve() => {
                self.perform(calls);
            }
            Err(StorageFailure::Full(_)) if calls.may_use_the_reserve() => calls.fail(&reserve::none_left()),
            Err(failure) => calls.fail(&failure),
        }
    }

    fn attempt(&mut self, calls: &Calls) -> Result<Vec<Done>, StorageFailure> {
        if calls.append() {
            self.reserve.must_be_there(&self.connection)?;
        }
        self.transact(calls.flush, |change| calls.perform(change))
    }

    /// Gives the reserve up and runs a WAL checkpoint into the freed space, so that the write-ahead log is writable
    /// again. Returns whether the reserve existed.
    pub(crate) fn give_up_the_reserve(&mut self) -> bool {
        if !self.reserve.give_up() {
            return false;
        }
        let folded = connection::without_waiting(&mut self.connection, |connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
        });
        if let Err(error) = folded {
            tracing::warn!(%error, "the write-ahead log could not be folded back");
        }
        true
    }

    /// Makes a change in a transaction.
    pub(crate) fn transact<T>(
        &mut self,
        flush: Flush,
        work: impl FnOnce(&mut Change<'_>) -> Result<T, StorageFailure>,
    ) -> Result<T, StorageFailure> {
        self.set_flush(flush)?;
        let Self { connection, clock, kinds, tail, rows, tail_limits, known, unindexed, commits, .. } = self;
        let begun = Instant::now();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| failure::with_wait(sqlite(error), begun.elapsed()))?;
        let before = State::load(&transaction)?;
        if (before.head, before.events) != *known {
            tail.clear();
        }
        rows.begin(&transaction)?;
        let now = unix_micros(clock.now());
        let mut change = Change::new(&transaction, before.clone(), kinds, tail, rows, now);
        let done = work(&mut change).and_then(|result| {
            change.finish(&before, *tail_limits)?;
            Ok((result, change.state))
        });
        let done = done.and_then(|done| transaction.commit().map(|()| done).map_err(failure::commit));
        match done {
            Ok((result, state)) => {
                *known = (state.head, state.events);
                *unindexed = state.unindexed();
                if state.head != before.head {
                    commits.send_replace(state.head);
                }
                Ok(result)
            }
            // The transaction was rolled back when it was dropped.
            Err(failure) => {
                kinds.forget();
                tail.clear();
                rows.forget();
                *known = (before.head, before.events);
                Err(failure)
            }
        }
    }

    /// Applies the setting to the connection if it differs from the current one. This saves many repeated PRAGMA
    /// statements.
    fn set_flush(&mut self, flush: Flush) -> Result<(), StorageFailure> {
        if self.flush != flush {
            let synchronous = match flush {
                Flush::Wait => "FULL",
                Flush::Later => "NORMAL",
            };
            self.connection.pragma_update(None, "synchronous", synchronous).map_err(sqlite)?;
            self.flush = flush;
        }
        Ok(())
    }
}

/// Collects waiting calls that may share a commit with the first call. Also returns the first other command after these
/// calls.
fn gather(first: Call, queue: &mut mpsc::Receiver<Command>) -> (Calls, Option<Command>) {
    let mut calls = Calls::new(first);
    while !calls.is_full() {
        match queue.try_recv() {
            Ok(Command::Call(call)) if call.flush() == calls.flush => calls.push(call),
            Ok(other) => return (calls, Some(other)),
            Err(_) => break,
        }
    }
    (calls, None)
}
