//! What a command was asked and has not answered yet.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

use domain::delivery::HandlerError;
use tokio::{sync::oneshot, time::Instant};

use super::answer::Answer;
use crate::failure::Failure;

/// How much is handed to the pipe at once, in bytes; a line is never split over two.
const CHUNK_BYTES: usize = 64 * 1024;

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
    /// Nobody waits for it any more.
    Late,
    /// Nothing of this id is open.
    Unknown,
}

#[derive(Debug)]
struct Open {
    id: String,
    attempt: Option<u32>,
    /// The line, until it is on its way.
    line: Option<Vec<u8>>,
    asked_at: Instant,
    deadline: Instant,
    /// Taken once its time is up: then the command's answer is awaited still, to be told from the next one of the id.
    answer: Option<oneshot::Sender<Result<(), Failure>>>,
}

/// Deliveries that are open, by number in the order they came.
#[derive(Debug, Default)]
pub(super) struct OpenAsks {
    last: u64,
    asks: HashMap<u64, Open>,
    by_id: HashMap<String, VecDeque<u64>>,
    deadlines: BTreeSet<(Instant, u64)>,
    unwritten: VecDeque<u64>,
}

impl OpenAsks {
    pub(super) fn insert(&mut self, ask: Ask) {
        self.last += 1;
        let number = self.last;
        let deadline = ask.asked_at + ask.timeout;
        self.by_id.entry(ask.id.clone()).or_default().push_back(number);
        self.deadlines.insert((deadline, number));
        self.unwritten.push_back(number);
        let open = Open {
            id: ask.id,
            attempt: ask.attempt,
            line: Some(ask.line),
            asked_at: ask.asked_at,
            deadline,
            answer: Some(ask.answer),
        };
        self.asks.insert(number, open);
    }

    /// Whether a line waits to be written.
    pub(super) fn has_unwritten(&self) -> bool {
        !self.unwritten.is_empty()
    }

    /// When the next time is up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many are awaited although their time is up.
    pub(super) fn overdue(&self) -> usize {
        self.asks.len() - self.deadlines.len()
    }

    /// Appends the lines that are written next. Lines that nobody waits for any more are left out.
    pub(super) fn write_chunk(&mut self, chunk: &mut Vec<u8>) {
        while chunk.len() < CHUNK_BYTES {
            let Some(number) = self.unwritten.pop_front() else { return };
            let Some(open) = self.asks.get_mut(&number) else { continue };
            if open.answer.as_ref().is_none_or(oneshot::Sender::is_closed) {
                self.remove(number);
            } else if let Some(line) = open.line.take() {
                chunk.extend_from_slice(&line);
            }
        }
    }

    /// Gives an answer to who waits for it.
    pub(super) fn settle(&mut self, answer: Answer) -> Settled {
        let Some(number) = self.find(&answer) else { return Settled::Unknown };
        let Some(open) = self.remove(number) else { return Settled::Unknown };
        let sent = open.answer.map(|waiting| waiting.send(answer.result().map_err(Failure::Failed)));
        if matches!(sent, Some(Ok(()))) { Settled::InTime } else { Settled::Late }
    }

    /// The one that an answer is for: the oldest of its id that the command has; of the attempt that it names, if it names one.
    fn find(&self, answer: &Answer) -> Option<u64> {
        let is_meant = |number: &&u64| {
            self.asks.get(*number).is_some_and(|open| {
                let named = answer.attempt.is_none() || open.attempt.is_none();
                open.line.is_none() && (named || open.attempt == answer.attempt)
            })
        };
        self.by_id.get(&answer.id)?.iter().find(is_meant).copied()
    }

    /// Fails what has run out of time. Whether the command hangs: it has answered nothing since one of them came.
    pub(super) fn expire(&mut self, now: Instant, last_answer: Option<Instant>) -> bool {
        let mut hangs = false;
        while let Some((_, number)) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now)
        {
            self.deadlines.pop_first();
            let Some(open) = self.asks.get_mut(&number) else { continue };
            hangs |= last_answer.is_none_or(|answered| answered < open.asked_at);
            let waited = open.deadline - open.asked_at;
            if let Some(waiting) = open.answer.take() {
                let error = HandlerError::retry(format!("the command did not answer within {waited:?}"));
                // Who does not wait any more has noticed by itself.
                let _ = waiting.send(Err(Failure::Failed(error)));
            }
            if open.line.is_some() {
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

    /// Fails what the command may have had. What still waits for it goes to the next process.
    pub(super) fn fail_written(&mut self, failure: &Failure) {
        let written = |(number, open): (&u64, &Open)| open.line.is_none().then_some(*number);
        for number in self.asks.iter().filter_map(written).collect::<Vec<_>>() {
            if let Some(waiting) = self.remove(number).and_then(|open| open.answer) {
                let _ = waiting.send(Err(failure.clone()));
            }
        }
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
