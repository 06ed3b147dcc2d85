//! Deliveries to a command: one process, an event a line into its stdin, an answer a line out of its stdout.
//!
//! # The protocol
//! Each delivery is one line of JSON, as [`write_delivery`] has it for groups and [`write_replayed`] for replays. For each
//! the command writes one line, in any order, as soon as it is done with the event:
//!
//! ```json
//! {"id":"e1","ok":true}
//! {"id":"e2","ok":false,"error":"no such account","retry":false}
//! {"id":"e3","ok":false,"error":"the mail server is busy","retryAfterMs":5000}
//! ```
//!
//! - `id` is the event's. `"retry":false` gives up at once; else the delivery is tried again, with `retryAfterMs` not before
//!   that many milliseconds have passed.
//! - Several events may be open at once, as many as the group's concurrency allows. Where an id is open more than once (its
//!   time was up, and it was sent again), answers are taken for the oldest first. A command that answers late and out of
//!   order says `"attempt"`, as it stands in the line's `delivery`, and is matched by it.
//! - What is no answer, or answers nothing that is open, is told ([`notices`](ExecHandler::notices)), counted and ignored.
//!   So is an answer that comes after its delivery's time was up. A line is at most 1 MiB long.
//! - The command's stderr is passed on to this process's stderr. Its end stands with the failure when the command ends.
//! - A command that handles one event after the other should get a concurrency of 1: the time that an event waits for the
//!   ones before it counts.
//!
//! # When it fails
//! When the process ends with one delivery open, that delivery fails. When several are open, none fails: each is sent to
//! the next process again while no other is open, and fails if the process ends then too. The attempt stays the same. The
//! process is started again for the next delivery, after a pause that grows while it answers nothing. When a delivery's time
//! is up and the command has answered nothing since it was sent, the command hangs: it is killed, and others that are open
//! are sent again one at a time. When it has answered others, that delivery alone fails.
//!
//! # One process for each event
//! [`ExecCommand::one_shot`] runs the command for each delivery. The line is its stdin. Exit status 0 says that the event is
//! handled, any other that it failed and is tried again. Its stdout and stderr are passed on to this process's stderr, and
//! their end stands with the failure. When the command ends, what is left of its process group is killed.
//!
//! # Starting and ending
//! No shell is involved: the command is split into words by a shell's rules for quotes, and the first is the program.
//! It runs in a process group of its own, so that a terminal's Ctrl-C does not hit it before what it has open is done.
//! [`close`](ExecHandler::close) ends its input, gives it a while to finish, and kills what is left of its group.
//! [`kill`](ExecHandler::kill), and dropping the handler, kill the group at once.

mod actor;
mod answer;
mod command;
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
    notices::ExecNotices,
};
use crate::{
    batch::{Attempt, Batches},
    failure::Failure,
    json_line::{write_delivery, write_replayed},
};

/// How long a replay waits for an answer where nothing else is said: as long as a group.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A delivery whose time is up before it begins still gets a moment, so that it fails in the usual way.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(1);

/// Hands a group's deliveries to a command.
///
/// Clones share the process: keep one to [`close`](Self::close) it once the group's consumer has ended.
#[derive(Debug, Clone)]
pub struct ExecHandler(Arc<Runner>);

impl ExecHandler {
    /// Starts the command. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn start(command: ExecCommand) -> Result<Self, ExecError> {
        Ok(Self(Arc::new(Runner::start(command)?)))
    }

    /// How many lines of the command were ignored: no answers, or answers to nothing that was open, or late ones.
    pub fn ignored_lines(&self) -> u64 {
        self.0.ignored_lines()
    }

    /// What the command does that it should not: lines that are no answers, and ends with several events open.
    pub fn notices(&self) -> ExecNotices {
        self.0.notices()
    }

    /// Ends the command: its input is closed, what it answers yet is taken, and after the command's grace it is killed.
    /// Deliveries that come later fail. Returns once the process is gone.
    pub async fn close(&self) {
        self.0.close().await;
    }

    /// Ends the command at once: what is left of its process group is killed, and what is open fails, as do deliveries that
    /// come later. It may come while another waits for [`close`](Self::close), which returns then. Returns once the process
    /// is told to end.
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
        Ok(self.0.ask(id, Some(delivery.attempt), line, time).await?)
    }
}

/// Hands a replay's events to a command. Each is tried up to four times; then it has failed.
///
/// While the command cannot be started, or ends without ever having answered anything, the replay waits.
#[derive(Debug)]
pub struct ExecTarget {
    exec: Runner,
    timeout: Duration,
    batches: Batches,
}

impl ExecTarget {
    /// Starts the command. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn start(command: ExecCommand) -> Result<Self, ExecError> {
        Ok(Self { exec: Runner::start(command)?, timeout: TIMEOUT, batches: Batches::new() })
    }

    /// How long an answer may take; else 30 seconds.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(SHORTEST_TIMEOUT);
        self
    }

    /// How many events may be open at once, of different ordering keys; those of one key go one after the other. Else one:
    /// everything in log order.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.batches.set_concurrency(concurrency);
        self
    }

    /// The pause before an event is tried again, which grows with each attempt; else a second.
    #[must_use]
    pub fn with_retry_pause(mut self, pause: Duration) -> Self {
        self.batches.set_first_pause(pause);
        self
    }

    /// As [`ExecHandler::ignored_lines`].
    pub fn ignored_lines(&self) -> u64 {
        self.exec.ignored_lines()
    }

    /// As [`ExecHandler::notices`].
    pub fn notices(&self) -> ExecNotices {
        self.exec.notices()
    }

    /// As [`ExecHandler::close`].
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
        let mut line = Vec::new();
        write_replayed(delivery, &mut line);
        self.exec.ask(delivery.stored.event.id(), None, line, self.timeout).await
    }
}
