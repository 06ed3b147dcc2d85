//! The writing thread: one a process and store. What callers hand over while a commit is under way is committed together.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use domain::{
    Event, StorageFailure,
    ports::{AppendOutcome, Atomicity, Clock},
};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot, watch},
};

use crate::{
    append::Appender,
    connection::{self, Role},
    failure::{self, sqlite},
    fold::{Tail, TailLimits},
    state::{State, micros},
    store::SqliteOptions,
    terms::Kinds,
};

/// Calls that may wait for the writer before callers wait to hand over theirs.
const QUEUE: usize = 1024;
/// A commit takes no further batches once it has this many events or bytes.
const COMMIT_EVENTS: usize = 8192;
const COMMIT_BYTES: usize = 16 * 1024 * 1024;
/// When nothing was handed over for this long, the writer uses the time.
const QUIET_AFTER: Duration = Duration::from_millis(100);

type Reply<T> = oneshot::Sender<Result<T, StorageFailure>>;

struct AppendCall {
    batch: Vec<Event>,
    atomicity: Atomicity,
    reply: Reply<Vec<AppendOutcome>>,
}

type Job = Box<dyn FnOnce(&mut Writer) + Send>;

enum Command {
    Append(AppendCall),
    Run(Job),
    Stop,
}

/// A handle on the writing thread. The thread ends when the last handle is gone.
#[derive(Clone)]
pub(crate) struct WriterHandle {
    commands: mpsc::Sender<Command>,
}

/// What the writing thread owns.
pub(crate) struct Writer {
    connection: Connection,
    clock: Arc<dyn Clock>,
    kinds: Kinds,
    tail: Tail,
    tail_limits: TailLimits,
    /// How many events the index was behind after this thread's last commit.
    unindexed: u64,
    /// Head and number of events after this thread's last commit. If the file's differ, another process appended or
    /// removed events, and the tail may be untrue.
    known: (u64, u64),
    commits: watch::Sender<u64>,
    /// What the connection is set to.
    flush: Flush,
}

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flush {
    Wait,
    Later,
}

impl WriterHandle {
    /// Opens the file to write and starts the thread.
    pub(crate) fn open(
        options: &SqliteOptions,
        commits: watch::Sender<u64>,
    ) -> Result<(Self, JoinHandle<()>), StorageFailure> {
        let (commands, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            connection: connection::open(&options.path, Role::Write)?,
            clock: options.clock.clone(),
            kinds: Kinds::default(),
            tail: Tail::default(),
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

    pub(crate) async fn append(
        &self,
        batch: Vec<Event>,
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, StorageFailure> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Append(AppendCall { batch, atomicity, reply })).await?;
        answer.await.map_err(|_| gone())?
    }

    /// Runs a change in a transaction of its own.
    pub(crate) async fn transact<T, F>(&self, change: F) -> Result<T, StorageFailure>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>, &mut State, &mut Kinds) -> Result<T, StorageFailure> + Send + 'static,
    {
        self.run(move |writer| writer.transact(change)).await
    }

    /// Runs a change in a transaction of its own, without waiting for the disk; see [`Writer::transact_relaxed`].
    pub(crate) async fn transact_relaxed<T, F>(&self, change: F) -> Result<T, StorageFailure>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>, &mut State, &mut Kinds) -> Result<T, StorageFailure> + Send + 'static,
    {
        self.run(move |writer| writer.transact_relaxed(change)).await
    }

    /// Runs something on the writing thread.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, StorageFailure>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writer) -> Result<T, StorageFailure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |writer| {
            // A caller that no longer waits does not want to know.
            let _ = reply.send(job(writer));
        });
        self.send(Command::Run(job)).await?;
        answer.await.map_err(|_| gone())?
    }

    /// Tells the thread to end after what was handed over before.
    pub(crate) async fn stop(&self) {
        let _ = self.send(Command::Stop).await;
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
                Command::Append(first) => {
                    let (calls, other) = gather(first, &mut queue);
                    self.survive(|writer| writer.commit_appends(calls));
                    next = other;
                }
            }
            if next.is_none() {
                next = self.wait(&mut queue, timer);
            }
        }
        self.fold_the_rest();
    }

    /// A panic, which would be a fault of this program, ends one call and not the store: its transaction was rolled back
    /// on the way out, and its caller hears that the outcome is unknown.
    fn survive(&mut self, work: impl FnOnce(&mut Self)) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            tracing::error!("a change to the store panicked and was rolled back");
            self.kinds.forget();
            self.tail.clear();
        }
    }

    /// The next command. When none comes for a while, the index catches up meanwhile.
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

    /// Brings the index up to date after a bulk of events. Should it fail, readers go through a longer tail, and the
    /// next append tries again.
    fn fold_the_rest(&mut self) {
        if self.unindexed < self.tail_limits.quiet {
            return;
        }
        let folded = self.transact_with_tail(Flush::Wait, |connection, state, kinds, tail, _| {
            tail.fold(connection, state, kinds)
        });
        if let Err(failure) = folded {
            tracing::warn!(%failure, "the index could not catch up with the log");
        }
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Like [`Writer::transact`], without waiting for the disk: a power cut may take the last of such changes back, all
    /// or none of each. A process that dies takes none.
    pub(crate) fn transact_relaxed<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>, &mut State, &mut Kinds) -> Result<T, StorageFailure>,
    ) -> Result<T, StorageFailure> {
        self.transact_and_clear(Flush::Later, change)
    }

    /// Runs a change in a transaction of its own.
    pub(crate) fn transact<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>, &mut State, &mut Kinds) -> Result<T, StorageFailure>,
    ) -> Result<T, StorageFailure> {
        self.transact_and_clear(Flush::Wait, change)
    }

    /// Appends events from elsewhere in the store, and changes that place in the same transaction.
    pub(crate) fn append_with<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>, &mut dyn FnMut(&Event) -> Appended) -> Result<T, StorageFailure>,
    ) -> Result<T, StorageFailure> {
        let limits = self.tail_limits;
        self.transact_with_tail(Flush::Wait, |transaction, state, kinds, tail, now| {
            let appender = Appender::new(transaction, now)?;
            let before = state.head;
            let done = change(transaction, &mut |event| appender.append_one(event, state, kinds, tail))?;
            if limits.are_reached(state, state.head - before) {
                tail.fold(transaction, state, kinds)?;
            }
            Ok(done)
        })
    }

    /// Sets the connection, unless it is set so already: the same is done many times over.
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

    fn commit_appends(&mut self, calls: Vec<AppendCall>) {
        let limits = self.tail_limits;
        let outcomes = self.transact_with_tail(Flush::Wait, |connection, state, kinds, tail, now| {
            let appender = Appender::new(connection, now)?;
            let before = state.head;
            let outcomes = calls
                .iter()
                .map(|call| appender.append(&call.batch, call.atomicity, state, kinds, tail))
                .collect::<Result<Vec<_>, _>>()?;
            if limits.are_reached(state, state.head - before) {
                tail.fold(connection, state, kinds)?;
            }
            Ok(outcomes)
        });
        match outcomes {
            Ok(outcomes) => {
                for (call, outcomes) in calls.into_iter().zip(outcomes) {
                    let _ = call.reply.send(Ok(outcomes));
                }
            }
            Err(failure) => {
                for call in calls {
                    let _ = call.reply.send(Err(failure.clone()));
                }
            }
        }
    }

    fn transact_and_clear<T>(
        &mut self,
        flush: Flush,
        change: impl FnOnce(&Transaction<'_>, &mut State, &mut Kinds) -> Result<T, StorageFailure>,
    ) -> Result<T, StorageFailure> {
        self.transact_with_tail(flush, |transaction, state, kinds, tail, _| {
            let events = state.events;
            let result = change(transaction, state, kinds)?;
            if state.events != events {
                // Events were removed: the tail may hold some of them. The next fold reads them anew.
                tail.clear();
            }
            Ok(result)
        })
    }

    fn transact_with_tail<T>(
        &mut self,
        flush: Flush,
        change: impl FnOnce(&Transaction<'_>, &mut State, &mut Kinds, &mut Tail, i64) -> Result<T, StorageFailure>,
    ) -> Result<T, StorageFailure> {
        self.set_flush(flush)?;
        let Self { connection, clock, kinds, tail, known, unindexed, commits, .. } = self;
        let begun = Instant::now();
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| failure::with_wait(sqlite(error), begun.elapsed()))?;
        let mut state = State::load(&transaction)?;
        let before = state.clone();
        if (state.head, state.events) != *known {
            tail.clear();
        }
        let done = change(&transaction, &mut state, kinds, tail, micros(clock.now()))
            .and_then(|result| {
                if state != before {
                    state.save(&transaction)?;
                }
                Ok(result)
            })
            .and_then(|result| transaction.commit().map(|()| result).map_err(failure::commit));
        match &done {
            Ok(_) => {
                *known = (state.head, state.events);
                *unindexed = state.unindexed();
                if state.head != before.head {
                    commits.send_replace(state.head);
                }
            }
            // The transaction was rolled back when it was dropped.
            Err(_) => {
                kinds.forget();
                tail.clear();
                *known = (before.head, before.events);
            }
        }
        done
    }
}

/// What became of an event that was appended.
pub(crate) type Appended = Result<AppendOutcome, StorageFailure>;

/// Takes the appends that wait already, up to what one commit should hold, and the first other command after them.
fn gather(first: AppendCall, queue: &mut mpsc::Receiver<Command>) -> (Vec<AppendCall>, Option<Command>) {
    let size = |call: &AppendCall| call.batch.iter().map(Event::size_bytes).sum::<usize>();
    let (mut events, mut bytes) = (first.batch.len(), size(&first));
    let mut calls = vec![first];
    while events < COMMIT_EVENTS && bytes < COMMIT_BYTES {
        match queue.try_recv() {
            Ok(Command::Append(call)) => {
                events += call.batch.len();
                bytes += size(&call);
                calls.push(call);
            }
            Ok(other) => return (calls, Some(other)),
            Err(_) => break,
        }
    }
    (calls, None)
}
