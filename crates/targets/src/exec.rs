//! Delivers events to a command. One process reads one event a line from its stdin and writes one answer a line to its
//! stdout.
//!
//! # The protocol
//! Each delivery is one line of JSON, in the format of [`write_delivery`] for groups and of [`write_replayed`] for
//! replays. For each delivery the command writes one line as soon as it has finished the event. Answers may have any
//! order:
//!
//! ```json
//! {"id":"e1","ok":true}
//! {"id":"e2","ok":false,"error":"no such account","retry":false}
//! {"id":"e3","ok":false,"error":"the mail server is busy","retryAfterMs":5000}
//! ```
//!
//! - `id` is the id of the event. `"retry":false` gives the event up immediately. Otherwise the delivery is retried.
//!   With `retryAfterMs`, the retry starts at the earliest after this number of milliseconds.
//! - Several events may be in flight, up to the concurrency of the group. An id may be in flight more than once: its
//!   time limit passed and it was sent again. An answer then counts for its oldest delivery. A command that answers
//!   late and out of order must return `"attempt"` from the line's `delivery`, which selects the delivery.
//! - A line that is no answer, or that answers no delivery in flight, is reported ([`notices`](ExecHandler::notices)),
//!   counted and ignored. So is an answer after the time limit of its delivery. A line is at most 1 MiB long.
//! - The command's stderr is copied to the stderr of this process. When the command ends, the last part of its stderr
//!   goes into the error.
//! - A command that handles one event after the other should have a concurrency of 1. The time in which an event waits
//!   for earlier events counts toward its time limit.
//!
//! # When it fails
//! If the process ends with one delivery in flight, that delivery fails. If several are in flight, none fails. The next
//! process gets each of them again while no other delivery is in flight. A delivery fails if that process ends too. The
//! number of its attempt stays the same. The process is started again for the next delivery, after a pause. The pause
//! grows while the process answers nothing.
//!
//! If the time limit of a delivery passes and the command has answered nothing since the delivery was sent, the command
//! hangs. It is killed, and the other deliveries in flight are sent again one at a time. If the command has answered
//! other deliveries, only this delivery fails.
//!
//! # One process for each event
//! [`ExecCommand::one_shot`] runs the command once for each delivery. The line is its stdin. Exit status 0 means that
//! the event is handled. Any other status is a failure, and the delivery is retried. The stdout and stderr of the
//! command are copied to the stderr of this process, and their last part goes into the error. When the command ends,
//! the rest of its process group is killed.
//!
//! # Starting and ending
//! The command runs without a shell. It is split into words by a shell's rules for quotes, and the first word is the
//! program. The process has its own process group. So Ctrl-C in a terminal does not stop the process while it has
//! deliveries in flight. [`close`](ExecHandler::close) closes its input, waits for the grace of the command, and kills
//! the rest of its group. [`kill`](ExecHandler::kill) and a drop of the handler kill the group immediately.

mod actor;
mod answer;
mod captured;
mod command;
mod filter;
mod lines;
mod notices;
mod one_shot;
mod open;
mod process;
mod runner;
mod stderr;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{
    delivery::{Delivery, HandlerError},
    ports::{DeliveryOutcome, EventHandler, ReplayDelivery, ReplayTarget, TargetError},
    time::until,
};

use self::runner::Runner;
pub use self::{
    command::{ExecCommand, ExecError},
    filter::{ExecFailure, ExecFilter},
    notices::ExecNotices,
};
use crate::{
    answer::{AnsweringTarget, NoAnswer, TargetAnswer},
    batch::{Attempt, Batches},
    failure::Failure,
    json_line::{write_delivery, write_replayed},
};

/// The default time limit of an answer in a replay. It equals the default of a group.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The time limit of a delivery with a passed deadline, so that it fails in the usual way.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// Delivers the events of a group to a command.
///
/// Clones share the process. Keep one clone, and call [`close`](Self::close) after the group's consumer has ended.
#[derive(Debug, Clone)]
pub struct ExecHandler(Arc<Runner>);

impl ExecHandler {
    /// Starts the command. The caller must be within a tokio runtime.
    ///
    /// # Errors
    /// Returns [`ExecError`] when the command cannot be started.
    pub fn start(command: ExecCommand) -> Result<Self, ExecError> {
        Ok(Self(Arc::new(Runner::start(command)?)))
    }

    /// Returns the number of ignored lines of the command: invalid answers, late answers, and answers to unknown
    /// deliveries.
    pub fn ignored_lines(&self) -> u64 {
        self.0.ignored_lines()
    }

    /// Returns the notices about the command: invalid lines, and ends with several events in flight.
    pub fn notices(&self) -> ExecNotices {
        self.0.notices()
    }

    /// Ends the command. Closes its input, accepts its remaining answers, and kills it after its grace. Later
    /// deliveries fail. Returns after the process has ended.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// Ends the command immediately. Kills its process group. Deliveries in flight and later deliveries fail. Another
    /// task may wait for [`close`](Self::close) at the same time, and `close` then returns. Returns after the process
    /// received the signal.
    pub async fn kill(&self) {
        self.0.kill().await;
    }
}

#[async_trait]
impl EventHandler for ExecHandler {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let mut line = Vec::new();
        write_delivery(delivery, &mut line);
        let time = until(delivery.delivered_at, delivery.deadline).max(SHORTEST_TIMEOUT);
        let id = delivery.stored.event.id();
        self.0.ask(id, Some(delivery.attempt), line, time).await?.result
    }
}

/// Delivers the events of a replay to a command. After four failed attempts an event has failed.
///
/// The replay waits while the command cannot be started. It also waits if the command ends without any answer.
#[derive(Debug)]
pub struct ExecTarget {
    exec: Runner,
    timeout: Duration,
    batches: Batches,
}

impl ExecTarget {
    /// Starts the command. The caller must be within a tokio runtime.
    ///
    /// # Errors
    /// Returns [`ExecError`] when the command cannot be started.
    pub fn start(command: ExecCommand) -> Result<Self, ExecError> {
        Ok(Self { exec: Runner::start(command)?, timeout: TIMEOUT, batches: Batches::new() })
    }

    /// Sets the time limit of an answer. The default is 30 seconds.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(SHORTEST_TIMEOUT);
        self
    }

    /// Sets the highest number of events in flight. They have different ordering keys, and events of one key go one
    /// after the other. The default is 1: all events go in log order.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.batches.set_concurrency(concurrency);
        self
    }

    /// Sets the pause before the first retry of an event. The pause grows with each attempt. The default is one second.
    #[must_use]
    pub fn with_retry_pause(mut self, pause: Duration) -> Self {
        self.batches.set_first_pause(pause);
        self
    }

    /// Returns the number of ignored lines, as [`ExecHandler::ignored_lines`] does.
    pub fn ignored_lines(&self) -> u64 {
        self.exec.ignored_lines()
    }

    /// Returns the notices about the command, as [`ExecHandler::notices`] does.
    pub fn notices(&self) -> ExecNotices {
        self.exec.notices()
    }

    /// Ends the command, as [`ExecHandler::close`] does.
    pub async fn close(&self) {
        self.exec.close().await;
    }
}

#[async_trait]
impl ReplayTarget for ExecTarget {
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError> {
        self.batches.deliver(&Once { exec: &self.exec, timeout: self.timeout }, batch).await
    }

    fn settled(&self, batch: &[ReplayDelivery]) -> Vec<Option<DeliveryOutcome>> {
        self.batches.settled(batch)
    }
}

struct Once<'a> {
    exec: &'a Runner,
    timeout: Duration,
}

#[async_trait]
impl Attempt for Once<'_> {
    async fn attempt(&self, delivery: &ReplayDelivery, _attempt: u32) -> Result<(), Failure> {
        ask(self.exec, delivery, self.timeout).await?.into_result()
    }
}

#[async_trait]
impl AnsweringTarget for ExecTarget {
    async fn ask(&self, delivery: &ReplayDelivery) -> Result<TargetAnswer, NoAnswer> {
        Ok(ask(&self.exec, delivery, self.timeout).await?)
    }
}

async fn ask(exec: &Runner, delivery: &ReplayDelivery, timeout: Duration) -> Result<TargetAnswer, Failure> {
    let mut line = Vec::new();
    write_replayed(delivery, &mut line);
    exec.ask(delivery.stored.event.id(), None, line, timeout).await
}
