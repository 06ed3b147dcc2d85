//! What a command was asked and has not answered yet.
//!
//! When a process ends with several deliveries open, none of them is blamed: each is written to the next process while
//! nothing else is, and only the one that is open alone at such an end has failed.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use domain::delivery::HandlerError;
use tokio::{sync::oneshot, time::Instant};

use super::answer::CommandReply;
use crate::failure::Failure;

/// How much is handed to the pipe at once, in bytes; a line is never split over two.
const CHUNK_BYTES: usize = 64 * 1024;

/// By how much the time for an answer is shorter than a delivery's at most.
pub(super) const EARLIER: Duration = Duration::from_millis(50);

/// A delivery on its way to the command.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) id: String,
    /// Which attempt the line says it is.
    pub(super) attempt: Option<u32>,
    /// The line, with its end.
    pub(super) line: Vec<u8>,
    pub(super) asked_at: Instant,
    pub(super) timeout: Duration,
    pub(super) answer: oneshot::Sender<Result<(), Failure>>,
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    InTime,
    /// Its answer is no longer awaited.
    Late,
    /// Nothing of this id is open.
    Unknown,
}

#[derive(Debug)]
struct Open {
    id: String,
    attempt: Option<u32>,
    line: Vec<u8>,
    /// Whether the process may have it.
    is_written: bool,
    /// When it came; when it is tried alone, when it was written.
    since: Instant,
    timeout: Duration,
    deadline: Instant,
    /// Taken once its time is up: then the command's answer is awaited still, to be told from the next one of the id.
    answer: Option<oneshot::Sender<Result<(), Failure>>>,
}

impl Open {
    fn is_awaited(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| !answer.is_closed())
    }
}

/// Deliveries that are open, by number in the order they came.
#[derive(Debug, Default)]
pub(super) struct OpenAsks {
    last: u64,
    asks: HashMap<u64, Open>,
    by_id: HashMap<String, VecDeque<u64>>,
    deadlines: BTreeSet<(Instant, u64)>,
    unwritten: VecDeque<u64>,
    /// What was open beside others when a process ended: written one at a time, before anything else.
    isolated: VecDeque<u64>,
    /// The one of these that the process has now.
    alone: Option<u64>,
}

impl OpenAsks {
    pub(super) fn insert(&mut self, ask: Ask) {
        self.last += 1;
        let number = self.last;
        // A group's own timer runs out at the same time; this one is a moment earlier, for it knows more of the reason.
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

    /// Whether a line waits to be written.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty() || !self.isolated.is_empty()
    }

    /// When the next time is up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many are awaited although their time is up.
    pub(super) fn overdue(&self) -> usize {
        self.asks.len() - self.deadlines.len()
    }

    /// Appends the lines that are written next, without those whose answer is no longer awaited.
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

    /// Appends a line, unless its answer is no longer awaited.
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

    /// Gives an answer to who waits for it.
    pub(super) fn settle(&mut self, answer: CommandReply) -> Settled {
        let Some(number) = self.find(&answer) else { return Settled::Unknown };
        let Some(open) = self.remove(number) else { return Settled::Unknown };
        let sent = open.answer.map(|waiting| waiting.send(answer.result().map_err(Failure::Failed)));
        if matches!(sent, Some(Ok(()))) { Settled::InTime } else { Settled::Late }
    }

    /// The one that an answer is for: the oldest of its id that the command has; of the attempt that it names, if it names one.
    fn find(&self, answer: &CommandReply) -> Option<u64> {
        let is_meant = |number: &&u64| {
            self.asks.get(*number).is_some_and(|open| {
                let named = answer.attempt.is_none() || open.attempt.is_none();
                open.is_written && (named || open.attempt == answer.attempt)
            })
        };
        self.by_id.get(&answer.id)?.iter().find(is_meant).copied()
    }

    /// Fails what has run out of time; `unread` is the last line of the process that was no answer. Whether the command
    /// hangs: it has answered nothing since one of them came.
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
                // Who does not wait any more has noticed by itself.
                let _ = waiting.send(Err(Failure::Failed(error)));
            }
            if !open.is_written {
                self.remove(number);
            }
        }
        hangs
    }

    /// Fails what has run out of time before the command could have it.
    pub(super) fn fail_expired(&mut self, now: Instant, failure: &Failure) {
        while let Some((_, number)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)
        {
            if let Some(waiting) = self.remove(number).and_then(|open| open.answer) {
                let _ = waiting.send(Err(failure.clone()));
            }
        }
    }

    /// A process is gone. What still waits for it goes to the next one. What it had alone has failed; what it had beside
    /// others is tried alone. Returns how many those are. Where one that `was_hanging` was given up on already, all others
    /// are tried alone.
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

    /// Fails everything that is open.
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
