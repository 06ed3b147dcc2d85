//! Appends: one call of a function for each batch. It writes the events, their ids and their terms, or nothing. The
//! terms stay pending until a fold adds them to the index.
//!
//! The caller computes every key beforehand, from its last known state of the partition. If that state is out of date,
//! the function says so and changes nothing, and the caller calls again. If some ids are already stored, the function
//! changes nothing and names them. The caller then sends the rest of the batch.

use std::{collections::HashMap, slice, time::Duration};

use domain::{
    Event, StorageFailure,
    batch::{Resolution, known_outcome},
    ports::{
        AppendOutcome, Atomicity, RetentionMode,
        engine::{Appended, Durability, IdState, Outcome, Transaction},
    },
};
use redis::{Cmd, Value};

use crate::{
    client::{failure::unexpected_reply, reply::text},
    engine::{
        commit,
        keys::{Digest, chunk_of},
        last_known::Known,
        partition::Partition,
        program::Program,
    },
    index::{
        fold::{self, Waiting},
        lookup::{Dictionary, id_state},
        pending::Body,
    },
    server::functions,
};

/// The largest number of events of one call. Indices into a batch are bytes, and a call should not block the server
/// for long.
pub(crate) const MAX_BATCH_EVENTS: usize = 200;
/// The largest number of bytes of one call. A single event may be larger.
pub(crate) const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// How many times a call is repeated because another caller was first.
const MOST_TRIES: usize = 100;

/// The answer of the function.
enum Answer {
    /// The events are stored behind the sequence `base`, in order.
    Stored { base: u64, fields: u64, epoch: u64, waiting: Waiting },
    /// Nothing was written. The ids of these events are in the dictionary: the index of each event, and the value of
    /// its id.
    Known(Vec<(usize, Value)>),
    /// Nothing was written. The caller's known state was out of date, and is now updated.
    Moved,
    /// Nothing was written. Too many terms are pending.
    MustFold,
    /// Nothing was written. This guard of the transaction did not hold.
    Refused(usize),
}

/// Appends a batch, and performs a transaction in the same step.
pub(crate) async fn append(
    partition: &Partition,
    batch: &[Event],
    atomicity: Atomicity,
    with: &Transaction,
) -> Result<Appended, StorageFailure> {
    Appender { partition }.append(batch, atomicity, with).await
}

/// Appends events to one partition.
struct Appender<'p> {
    partition: &'p Partition,
}

impl Appender<'_> {
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
        with: &Transaction,
    ) -> Result<Appended, StorageFailure> {
        let mut resolution = Resolution::new(batch, atomicity);
        // The append waits for copies, except with a transaction below `Replicated`. Such a transaction only moves
        // data that was confirmed before.
        let must_be_copied = with.is_nothing() || with.durability == Durability::Replicated;
        let mut epoch = None;
        if resolution.is_contradictory() {
            self.look_up(&mut resolution, batch).await?;
            return self.perform_alone(with, resolution.outcomes()).await;
        }
        for _ in 0..MOST_TRIES {
            let pending = resolution.pending();
            if resolution.is_refused() {
                return self.perform_alone(with, resolution.outcomes()).await;
            }
            if pending.is_empty() {
                if let (true, Some(epoch)) = (must_be_copied, epoch) {
                    self.partition.until_copied(epoch).await?;
                }
                return self.perform_alone(with, resolution.outcomes()).await;
            }
            let known = self.partition.known();
            match self.call_append(known, batch, &pending, with).await? {
                Answer::Moved => {}
                Answer::MustFold => fold::all(self.partition).await?,
                Answer::Refused(guard) => return Ok(Appended::Refused { guard }),
                Answer::Stored { base, fields, epoch: stored_in, waiting } => {
                    self.partition.last().set_head(base + pending.len() as u64);
                    for (at, index) in pending.iter().enumerate() {
                        let position = self.partition.position(base + 1 + at as u64);
                        resolution.settle(*index, AppendOutcome::Stored(position));
                    }
                    Dictionary::of(self.partition).grow(fields).await;
                    fold::after_append(self.partition, waiting, pending.len() as u64).await;
                    self.partition.train(pending.len() as u64).await;
                    if must_be_copied {
                        // Of several epochs the first counts, since the next may have lost its events.
                        self.partition.until_copied(*epoch.get_or_insert(stored_in)).await?;
                    }
                    return Ok(Appended::Done(resolution.outcomes()));
                }
                Answer::Known(found) => {
                    // The server has the known log epoch: with another one the answer would have been `Moved`.
                    epoch.get_or_insert(known.epoch);
                    let events: Vec<(usize, &Value)> = found
                        .iter()
                        .map(|(at, value)| Some((*pending.get(*at)?, value)))
                        .collect::<Option<_>>()
                        .ok_or_else(|| unexpected_reply("an append"))?;
                    self.settle_known(&mut resolution, batch, &events).await?;
                }
            }
        }
        Err(StorageFailure::Busy { waited: Duration::ZERO })
    }

    /// Performs the transaction of a batch from which no event needs to be stored.
    async fn perform_alone(
        &self,
        with: &Transaction,
        outcomes: Vec<AppendOutcome>,
    ) -> Result<Appended, StorageFailure> {
        match commit::commit(self.partition, slice::from_ref(with)).await?.pop() {
            Some(Outcome::Refused { guard }) => Ok(Appended::Refused { guard }),
            _ => Ok(Appended::Done(outcomes)),
        }
    }

    /// Records the outcome of events with ids in the dictionary, in one round trip. If such an event was removed
    /// meanwhile, it stays undecided and is looked up again.
    async fn settle_known(
        &self,
        resolution: &mut Resolution<'_>,
        batch: &[Event],
        found: &[(usize, &Value)],
    ) -> Result<(), StorageFailure> {
        let mut states = Vec::with_capacity(found.len());
        for (index, value) in found {
            states.push((*index, id_state(value)?.ok_or_else(|| unexpected_reply("the place of an id"))?));
        }
        let sequences: Vec<u64> = states
            .iter()
            .filter_map(|(_, state)| match state {
                IdState::Stored(sequence) => Some(*sequence),
                IdState::Erased => None,
            })
            .collect();
        let entries = self.partition.entries_at(&sequences).await?;
        let texts: HashMap<u64, &str> = entries
            .iter()
            .map(|entry| (entry.sequence, entry.event.as_ref().map_or("", |event| event.json())))
            .collect();
        for (index, state) in states {
            let stored = match state {
                IdState::Stored(sequence) => texts.get(&sequence).copied(),
                IdState::Erased => None,
            };
            let Some(event) = batch.get(index) else { return Err(unexpected_reply("an append")) };
            if let Some(outcome) = known_outcome(event, state, self.partition.number(), stored) {
                resolution.settle(index, outcome);
            }
        }
        Ok(())
    }

    /// Records the outcome of the stored and erased events of a batch. Stores nothing.
    async fn look_up(&self, resolution: &mut Resolution<'_>, batch: &[Event]) -> Result<(), StorageFailure> {
        let ids: Vec<Digest> = batch.iter().map(|event| Digest::of_id(event.id())).collect();
        let values = Dictionary::of(self.partition).values_of(&ids).await?;
        let found: Vec<(usize, &Value)> =
            values.iter().enumerate().filter(|(_, value)| **value != Value::Nil).collect();
        self.settle_known(resolution, batch, &found).await
    }

    async fn call_append(
        &self,
        known: Known,
        batch: &[Event],
        pending: &[usize],
        with: &Transaction,
    ) -> Result<Answer, StorageFailure> {
        let events: Vec<&Event> = pending.iter().filter_map(|index| batch.get(*index)).collect();
        let command = self.append_command(known, &events, with);
        self.read_append(self.partition.link().call_command(&command).await?)
    }

    fn append_command(&self, known: Known, events: &[&Event], with: &Transaction) -> Cmd {
        let n = events.len() as u64;
        let chunk = match chunk_of(known.head + 1) {
            chunk if chunk_of(known.head + n) == chunk => chunk,
            // A batch that does not fit into the chunk goes whole into the next one.
            chunk => chunk + 1,
        };
        let keys = self.partition.keys();
        let own_keys = 4 + events.len();
        let transactions = if with.is_nothing() { &[][..] } else { slice::from_ref(with) };
        let program = Program::of(keys, known, transactions);
        let theirs = program.keys();
        let terms = match self.partition.keeps() {
            RetentionMode::History => Body::of(events),
            RetentionMode::UntilDelivered => Body::none(),
        };

        let bytes: usize = events.iter().map(|event| event.size_bytes()).sum();
        let count = own_keys + theirs.len() + 3 * events.len() + 16;
        let mut command =
            Cmd::with_capacity(count, bytes + 128 * events.len() + 40 * count + terms.bytes.len());
        command.arg("FCALL").arg(functions::name("append")).arg(own_keys + theirs.len());
        command.arg(keys.meta()).arg(keys.log(chunk)).arg(keys.chunks()).arg(keys.pending());
        let ids: Vec<Digest> = events.iter().map(|event| Digest::of_id(event.id())).collect();
        for digest in &ids {
            command.arg(keys.bucket(digest.bucket(known.level, known.split)));
        }
        command.arg(theirs);
        match self.partition.own_clock() {
            Some(now) => command.arg(now),
            None => command.arg(""),
        };
        command.arg(chunk).arg(known.level).arg(known.split).arg(events.len()).arg(bytes).arg(keys.bell());
        command.arg(terms.bytes).arg(terms.postings);
        for (fields, digest) in self.partition.compression().pack(events).into_iter().zip(&ids) {
            command.arg(&*fields.event).arg(fields.head).arg(&digest.0[..]);
        }
        if !transactions.is_empty() {
            program.put(&mut command);
        }
        command
    }

    fn read_append(&self, answer: Value) -> Result<Answer, StorageFailure> {
        let Value::Array(parts) = answer else { return Err(unexpected_reply("an append")) };
        let mut parts = parts.into_iter();
        let what = parts.next();
        let rest: Vec<Value> = parts.collect();
        match (what.as_ref().and_then(text), rest.as_slice()) {
            (
                Some("ok"),
                [
                    Value::Int(base),
                    Value::Int(_),
                    Value::Int(fields),
                    Value::Int(epoch),
                    Value::Int(events),
                    Value::Int(records),
                ],
            ) => Ok(Answer::Stored {
                base: *base as u64,
                fields: *fields as u64,
                epoch: *epoch as u64,
                waiting: Waiting::of(*events, *records),
            }),
            (Some("fold"), _) => Ok(Answer::MustFold),
            (Some("moved"), _) => {
                self.partition.learn_moved(&rest)?;
                Ok(Answer::Moved)
            }
            (Some("refused"), [Value::Int(guard), ..]) => {
                Ok(Answer::Refused(usize::try_from(guard - 1).map_err(|_| unexpected_reply("an append"))?))
            }
            (Some("known"), known) => {
                let pairs = known.chunks_exact(2).map(|pair| match pair {
                    [Value::Int(at), value] => Ok(((*at - 1).max(0) as usize, value.clone())),
                    _ => Err(unexpected_reply("an append")),
                });
                Ok(Answer::Known(pairs.collect::<Result<_, _>>()?))
            }
            _ => Err(unexpected_reply("an append")),
        }
    }
}
