//! Deliveries that a command has not yet answered.
//!
//! If a process ends with several deliveries in flight, none of them has failed. The next process gets each of them
//! alone. Only a delivery that is alone in flight at such an end has failed.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use domain::delivery::HandlerError;
use tokio::{sync::oneshot, time::Instant};

use super::answer::CommandReply;
use crate::{answer::TargetAnswer, failure::Failure};

/// The size in bytes at which a chunk for the pipe is full. A line is never split over two chunks.
const CHUNK_BYTES: usize = 64 * 1024;

/// The highest difference between a delivery's time limit and the time limit of its answer.
pub(super) const EARLIER: Duration = Duration::from_millis(50);

/// A delivery on its way to the command.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: String,
    /// The attempt number in the line, if there is one.
    pub(super) attempt: Option<u32>,
    /// The line, with its line feed.
    pub(super) line: Vec<u8>,
    pub(super) asked_at: Instant,
    pub(super) timeout: Duration,
    pub(super) answer: oneshot::Sender<Result<TargetAnswer, Failure>>,
}

/// The result of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    InTime,
    /// The time limit of the delivery passed before its answer.
    Late,
    /// No delivery with this id is in flight.
    Unknown,
}

#[derive(Debug)]
struct Open {
    id: String,
    attempt: Option<u32>,
    line: Vec<u8>,
    /// Whether the line was written to the process.
    is_written: bool,
    /// The time of the request. For a delivery that runs alone, the time at which its line was written.
    since: Instant,
    timeout: Duration,
    deadline: Instant,
    /// The sender of the result. It is taken when the time limit passes. The delivery then still awaits the command's
    /// answer, to distinguish that answer from the answer to the id's next delivery.
    answer: Option<oneshot::Sender<Result<TargetAnswer, Failure>>>,
}

impl Open {
    fn is_awaited(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| !answer.is_closed())
    }
}

/// The deliveries in flight, numbered in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct OpenAsks {
    last: u64,
    asks: HashMap<u64, Open>,
    by_id: HashMap<String, VecDeque<u64>>,
    deadlines: BTreeSet<(Instant, u64)>,
    unwritten: VecDeque<u64>,
    /// The deliveries that were in flight together when a process ended. They are written one at a time, before all
    /// others.
    isolated: VecDeque<u64>,
    /// The isolated delivery that the process now has.
    alone: Option<u64>,
}

impl OpenAsks {
    pub(super) fn insert(&mut self, ask: Ask) {
        self.last += 1;
        let number = self.last;
        // The group's own timer expires at the full time limit. This deadline is slightly earlier, because this error
        // has more details.
        let deadline = ask.asked_at + ask.timeout.saturating_sub((ask.timeout / 20).min(EARLIER));
        self.by_id.entry(ask.id.clone()).or_default().push_back(number);
        self.deadlines.insert((deadline, number));
        self.unwritten.push_back(number);
        let open = Open {
            id: ask.id,
            attempt: ask.attempt,
            line: ask.line,
            is_written: false,
            since: ask.asked_at,
            timeout: ask.timeout,
            deadline,
            answer: Some(ask.answer),
        };
        self.asks.insert(number, open);
    }

    /// Returns whether a line waits for its write.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty() || !self.isolated.is_empty()
    }

    /// Returns the next deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Returns the number of deliveries that await an answer after their time limit.
    pub(super) fn overdue(&self) -> usize {
        self.asks.len() - self.deadlines.len()
    }

    /// Appends the lines that are written next. Skips lines with answers that no caller awaits any more.
    pub(super) fn write_chunk(&mut self, chunk: &mut Vec<u8>) {
        if self.alone.is_some_and(|number| self.asks.contains_key(&number)) {
            return;
        }
        self.alone = None;
        while let Some(number) = self.isolated.pop_front() {
            if self.write(number, chunk) {
                self.alone = Some(number);
                if let Some(open) = self.asks.get_mut(&number) {
                    open.since = Instant::now();
                }
                return;
            }
        }
        while chunk.len() < CHUNK_BYTES {
            let Some(number) = self.unwritten.pop_front() else { return };
            self.write(number, chunk);
        }
    }

    /// Appends a line, unless no caller awaits its answer any more. Returns whether the line was appended.
    fn write(&mut self, number: u64, chunk: &mut Vec<u8>) -> bool {
        let Some(open) = self.asks.get_mut(&number) else { return false };
        if !open.is_awaited() {
            self.remove(number);
            return false;
        }
        open.is_written = true;
        chunk.extend_from_slice(&open.line);
        true
    }

    /// Sends an answer to the caller that awaits it. Takes the line of the answer if it is in time.
    pub(super) fn settle(&mut self, reply: CommandReply, line: &mut Vec<u8>) -> Settled {
        let Some(number) = self.find(&reply) else { return Settled::Unknown };
        let Some(open) = self.remove(number) else { return Settled::Unknown };
        let Some(waiting) = open.answer else { return Settled::Late };
        let answer = TargetAnswer { result: reply.result(), status: None, body: std::mem::take(line) };
        match waiting.send(Ok(answer)) {
            Ok(()) => Settled::InTime,
            Err(unsent) => {
                *line = unsent.map(|answer| answer.body).unwrap_or_default();
                Settled::Late
            }
        }
    }

    /// Returns the delivery that an answer belongs to: the oldest written delivery of its id, and of its attempt if it
    /// has one.
    fn find(&self, answer: &CommandReply) -> Option<u64> {
        let is_meant = |number: &&u64| {
            self.asks.get(*number).is_some_and(|open| {
                let named = answer.attempt.is_none() || open.attempt.is_none();
                open.is_written && (named || open.attempt == answer.attempt)
            })
        };
        self.by_id.get(&answer.id)?.iter().find(is_meant).copied()
    }

    /// Fails the deliveries that are past their time limit. `unread` is the last line of the process that was no
    /// answer. Returns whether the command hangs: it has answered nothing since one of these deliveries arrived.
    pub(super) fn expire(
        &mut self,
        now: Instant,
        last_answer: Option<Instant>,
        unread: Option<&str>,
    ) -> bool {
        let mut hangs = false;
        while let Some((_, number)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)
        {
            self.deadlines.pop_first();
            let isolating = self.alone.is_some();
            let Some(open) = self.asks.get_mut(&number) else { continue };
            hangs |= match isolating {
                true => self.alone == Some(number),
                false => last_answer.is_none_or(|answered| answered < open.since),
            };
            if let Some(waiting) = open.answer.take() {
                let mut error =
                    HandlerError::retry(format!("the command did not answer within {:?}", open.timeout));
                if isolating && self.alone != Some(number) {
                    error.errors.push("it waited while others were tried alone".to_owned());
                } else if let Some(unread) = unread {
                    error.errors.push(format!("it wrote {unread}"));
                }
                // A caller that no longer waits has its own error.
                let _ = waiting.send(Err(Failure::Failed(error)));
            }
            if !open.is_written {
                self.remove(number);
            }
        }
        hangs
    }

    /// Fails the deliveries that passed their time limit before they were written.
    pub(super) fn fail_expired(&mut self, now: Instant, failure: &Failure) {
        while let Some((_, number)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)
        {
            if let Some(waiting) = self.remove(number).and_then(|open| open.answer) {
                let _ = waiting.send(Err(failure.clone()));
            }
        }
    }

    /// Handles the end of a process. Deliveries that are not yet written go to the next process. A delivery that was
    /// alone in flight has failed. Deliveries that were in flight together are tried again alone. With `was_hanging`,
    /// the hanging delivery has already failed, and all others are tried again alone. Returns the number of deliveries
    /// to try alone.
    pub(super) fn process_ended(&mut self, failure: &Failure, was_hanging: bool) -> usize {
        let written = |(number, open): (&u64, &Open)| open.is_written.then_some(*number);
        let mut written: Vec<u64> = self.asks.iter().filter_map(written).collect();
        written.sort_unstable();
        let (awaited, forgotten): (Vec<u64>, Vec<u64>) =
            written.into_iter().partition(|number| self.asks.get(number).is_some_and(Open::is_awaited));
        for number in forgotten {
            self.remove(number);
        }
        let is_blamed = self.alone.take().is_some() || (awaited.len() == 1 && !was_hanging);
        if is_blamed {
            for number in awaited {
                if let Some(waiting) = self.remove(number).and_then(|open| open.answer) {
                    let _ = waiting.send(Err(failure.clone()));
                }
            }
            return 0;
        }
        for number in &awaited {
            if let Some(open) = self.asks.get_mut(number) {
                open.is_written = false;
            }
        }
        self.isolated.extend(&awaited);
        awaited.len()
    }

    /// Fails all deliveries in flight.
    pub(super) fn fail_all(&mut self, failure: &Failure) {
        for open in std::mem::take(&mut self.asks).into_values() {
            if let Some(waiting) = open.answer {
                let _ = waiting.send(Err(failure.clone()));
            }
        }
        self.by_id.clear();
        self.deadlines.clear();
        self.unwritten.clear();
        self.isolated.clear();
        self.alone = None;
    }

    fn remove(&mut self, number: u64) -> Option<Open> {
        let open = self.asks.remove(&number)?;
        self.deadlines.remove(&(open.deadline, number));
        if let Some(numbers) = self.by_id.get_mut(&open.id) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_id.remove(&open.id);
            }
        }
        Some(open)
    }
}
