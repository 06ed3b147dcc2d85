//! Appending: one call of a function a batch, which writes the events, their index entries and their ids, or nothing.
//!
//! The caller works out every key beforehand from what it last knew of the partition. Where that is old the function says
//! so, changes nothing, and the call is made again. So it is with ids that are known already: the function names them, and
//! what is left of the batch is sent once more.

use std::collections::HashMap;

use domain::{
    Event, Position, StorageFailure,
    event::head,
    ports::{AppendOutcome, Atomicity, Keeps},
};
use redis::{Cmd, Value};

use crate::{
    failure::shape,
    functions,
    hints::Kind,
    keys::{Digest, Long, chunk_of},
    partition::{Known, Partition},
    state::position,
    write::{Write, text},
};

/// Most events of one call: indices into a batch are bytes, and a call should not hold the server up.
pub(crate) const MAX_BATCH_EVENTS: usize = 200;
/// Most bytes of one call, but for a single event.
pub(crate) const MAX_BATCH_BYTES: usize = 1024 * 1024;
/// How often a call is made again because somebody else was quicker.
const MOST_TRIES: usize = 100;
/// Fields that a bucket of the dictionary has on average before one is split; its compact encoding ends at 128.
const FILL: u64 = 48;
/// Buckets that are split in one step.
const SPLIT_AT_ONCE: u32 = 16;

/// What the function answered.
enum Answer {
    /// The events stand behind this sequence, in order.
    Stored { base: u64, fields: u64 },
    /// Nothing was written; this is known of these events, by their index.
    Known(Vec<(usize, Value)>),
    /// Nothing was written; the caller's picture was old and is mended.
    Moved,
    /// Nothing was written; what the caller remembered of the terms did not hold and is mended.
    Unsure,
    /// Nothing was written; this guard of the write that was to go with it did not hold.
    Refused,
}

/// Where a batch was refused because the write that was to go with it would not hold any more.
#[derive(Debug)]
pub(crate) struct Overtaken;

impl Partition {
    /// Appends a batch, and does a guarded write in the same step once anything of it is stored.
    pub(crate) async fn append_batch(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
        also: Option<&Write>,
    ) -> Result<Result<Vec<AppendOutcome>, Overtaken>, StorageFailure> {
        let mut work = Work::new(batch, atomicity);
        if work.is_contradictory() {
            self.look_up(&mut work).await?;
            return Ok(Ok(work.outcomes()));
        }
        let mut epoch = None;
        for _ in 0..MOST_TRIES {
            let pending = work.pending();
            if work.is_refused() {
                return Ok(Ok(work.outcomes()));
            }
            if pending.is_empty() {
                // What goes along was confirmed before it did.
                if let (None, Some(epoch)) = (also, epoch) {
                    self.until_copied(epoch).await?;
                }
                return Ok(Ok(work.outcomes()));
            }
            let known = self.known().await?;
            let answer = self.call_append(known, batch, &pending, also).await?;
            // A picture of another log epoch than the server's would have been old. Of several the first counts: what it had
            // may be gone in the next.
            if matches!(answer, Answer::Stored { .. } | Answer::Known(_)) {
                epoch.get_or_insert(known.epoch);
            }
            match answer {
                Answer::Moved | Answer::Unsure => {}
                Answer::Refused => return Ok(Err(Overtaken)),
                Answer::Stored { base, fields } => {
                    self.learn_head(base + pending.len() as u64);
                    for (at, index) in pending.iter().enumerate() {
                        work.settle(*index, AppendOutcome::Stored(position(base + 1 + at as u64)));
                    }
                    self.grow(fields).await;
                    self.train(pending.len() as u64).await;
                }
                Answer::Known(known) => {
                    for (at, value) in known {
                        let Some(index) = pending.get(at).copied() else { return Err(shape("an append")) };
                        if let Some(outcome) = self.known_outcome(&batch[index], &value).await? {
                            work.settle(index, outcome);
                        }
                    }
                }
            }
        }
        Err(StorageFailure::Busy { waited: std::time::Duration::ZERO })
    }

    /// What an event is to the one that has its id; none where that one went meanwhile.
    pub(crate) async fn known_outcome(
        &self,
        event: &Event,
        value: &Value,
    ) -> Result<Option<AppendOutcome>, StorageFailure> {
        let Some(value) = text(value) else { return Err(shape("the place of an id")) };
        if value == ERASED {
            return Ok(Some(AppendOutcome::Erased));
        }
        let sequence: u64 = value.parse().map_err(|_| shape("the place of an id"))?;
        let Some(json) = self.stored_json(sequence).await? else { return Ok(None) };
        Ok(Some(if domain::event::same_content(&json, event.json()) {
            AppendOutcome::AlreadyStored(position(sequence))
        } else {
            AppendOutcome::Conflict(position(sequence))
        }))
    }

    /// What would become of an all-or-nothing batch now, as far as it is known: what is not is not stored. Stores nothing.
    pub(crate) async fn check_batch(&self, batch: &[Event]) -> Result<Vec<AppendOutcome>, StorageFailure> {
        let mut work = Work::new(batch, Atomicity::AllOrNothing);
        self.look_up(&mut work).await?;
        Ok(work.outcomes())
    }

    /// Settles what is stored or erased of a batch, and stores nothing.
    async fn look_up(&self, work: &mut Work<'_>) -> Result<(), StorageFailure> {
        let ids: Vec<Digest> = work.batch.iter().map(|event| Digest::of_id(event.id())).collect();
        for (index, value) in self.values_of(&ids).await?.iter().enumerate() {
            if *value == Value::Nil {
                continue;
            }
            if let Some(outcome) = self.known_outcome(&work.batch[index], value).await? {
                work.settle(index, outcome);
            }
        }
        Ok(())
    }

    async fn call_append(
        &self,
        known: Known,
        batch: &[Event],
        pending: &[usize],
        also: Option<&Write>,
    ) -> Result<Answer, StorageFailure> {
        let events: Vec<&Event> = pending.iter().filter_map(|index| batch.get(*index)).collect();
        let terms = Terms::of(&events, self.keeps() == Keeps::History);
        let kinds = self.hints().kinds(terms.shorts.iter().map(|(digest, indices)| (*digest, indices.len())));
        let command = self.append_command(known, &events, &terms, &kinds, also);
        let answer = self.link().call_command(&command).await?;
        self.read_append(answer, &terms)
    }

    fn append_command(
        &self,
        known: Known,
        events: &[&Event],
        terms: &Terms,
        kinds: &[Kind],
        also: Option<&Write>,
    ) -> Cmd {
        let n = events.len() as u64;
        let chunk = match chunk_of(known.head + 1) {
            chunk if chunk_of(known.head + n) == chunk => chunk,
            // What does not fit into a chunk goes into the next one, whole.
            chunk => chunk + 1,
        };
        let keys = self.keys();
        let both = kinds.iter().filter(|kind| **kind == Kind::Either).count();
        let own_keys = 4 + terms.longs.len() + kinds.len() + both + events.len();
        let theirs = also.map_or(&[][..], Write::keys);

        let bytes: usize = events.iter().map(|event| event.size_bytes()).sum();
        let count = own_keys + theirs.len() + 3 * events.len() + 2 * (terms.longs.len() + kinds.len()) + 16;
        let mut command = Cmd::with_capacity(count, bytes + 128 * events.len() + 40 * count);
        command.arg("FCALL").arg(functions::name("append")).arg(own_keys + theirs.len());
        command.arg(keys.meta()).arg(keys.log(chunk)).arg(keys.chunks()).arg(keys.directory(chunk));
        for (field, _) in &terms.longs {
            command.arg(keys.long(chunk, field));
        }
        for ((digest, _), kind) in terms.shorts.iter().zip(kinds) {
            if *kind != Kind::Listed {
                command.arg(keys.bucket(digest.bucket(known.level, known.split)));
            }
            if matches!(kind, Kind::Listed | Kind::Either) {
                command.arg(keys.promoted(*digest));
            }
        }
        let ids: Vec<Digest> = events.iter().map(|event| Digest::of_id(event.id())).collect();
        for digest in &ids {
            command.arg(keys.bucket(digest.bucket(known.level, known.split)));
        }
        command.arg(theirs);
        match self.own_clock() {
            Some(now) => command.arg(now),
            None => command.arg(""),
        };
        let kinds: Vec<u8> = kinds.iter().map(|kind| kind.byte()).collect();
        command.arg(chunk).arg(known.level).arg(known.split).arg(events.len()).arg(terms.longs.len());
        command.arg(kinds).arg(bytes).arg(keys.bell());
        let texts = self.compression().pack(events.iter().map(|event| event.json()));
        for ((event, text), digest) in events.iter().zip(&texts).zip(&ids) {
            command.arg(&**text).arg(head::encode(event)).arg(&digest.0[..]);
        }
        for (field, indices) in &terms.longs {
            command.arg(field).arg(&indices[..]);
        }
        for (digest, indices) in &terms.shorts {
            command.arg(&digest.0[..]).arg(&indices[..]);
        }
        if let Some(write) = also {
            for arg in write.args_after(own_keys) {
                command.arg(arg);
            }
        }
        command
    }

    fn read_append(&self, answer: Value, terms: &Terms) -> Result<Answer, StorageFailure> {
        let Value::Array(parts) = answer else { return Err(shape("an append")) };
        let mut parts = parts.into_iter();
        let what = parts.next();
        let rest: Vec<Value> = parts.collect();
        let digests = || terms.shorts.iter().map(|(digest, _)| *digest);
        match (what.as_ref().and_then(text), rest.as_slice()) {
            (
                Some("ok"),
                [Value::Int(base), Value::Int(_), Value::Int(fields), Value::Int(_), Value::BulkString(has)],
            ) => {
                self.hints().learn(digests(), has, true);
                Ok(Answer::Stored { base: *base as u64, fields: *fields as u64 })
            }
            (Some("unsure"), [Value::BulkString(has)]) => {
                self.hints().learn(digests(), has, false);
                Ok(Answer::Unsure)
            }
            (Some("moved"), _) => {
                self.learn_moved(&rest)?;
                Ok(Answer::Moved)
            }
            (Some("refused"), _) => Ok(Answer::Refused),
            (Some("known"), known) => {
                let pairs = known.chunks_exact(2).map(|pair| match pair {
                    [Value::Int(at), value] => Ok(((*at - 1).max(0) as usize, value.clone())),
                    _ => Err(shape("an append")),
                });
                Ok(Answer::Known(pairs.collect::<Result<_, _>>()?))
            }
            _ => Err(shape("an append")),
        }
    }

    /// Splits buckets of the dictionary where it has grown. What fails here is done by the next append.
    async fn grow(&self, fields: u64) {
        let Ok(mut known) = self.known().await else { return };
        while fields > FILL * ((1 << known.level) + u64::from(known.split)) {
            let keys = self.keys();
            let mut names = vec![keys.meta()];
            let last = (1u32 << known.level).min(known.split + SPLIT_AT_ONCE);
            for bucket in known.split..last {
                names.push(keys.bucket(bucket));
                names.push(keys.bucket(bucket + (1 << known.level)));
            }
            let args = [known.level.to_string(), known.split.to_string()];
            let answer = self.link().call("split", &names, &args).await;
            let learned = match &answer {
                Ok(Value::Array(parts)) => match parts.as_slice() {
                    [what, Value::Int(level), Value::Int(split)] if text(what) == Some("ok") => {
                        self.learn_buckets(*level as u32, *split as u32);
                        Ok(())
                    }
                    [what, rest @ ..] if text(what) == Some("moved") => self.learn_moved(rest),
                    _ => Err(shape("a split")),
                },
                Ok(_) => Err(shape("a split")),
                Err(failure) => Err(failure.clone()),
            };
            if let Err(failure) = learned {
                tracing::warn!(%failure, "the dictionary could not be grown; the next append tries again");
                return;
            }
            let Ok(again) = self.known().await else { return };
            known = again;
        }
    }
}

/// What stands in the dictionary for the id of an erased event.
pub(crate) const ERASED: &str = "x";

/// The terms of a batch, each with the events that have it, by their number from 1.
struct Terms {
    longs: Vec<(String, Vec<u8>)>,
    shorts: Vec<(Digest, Vec<u8>)>,
}

impl Terms {
    fn of(events: &[&Event], indexed: bool) -> Self {
        let mut longs: HashMap<Long<'_>, Vec<u8>> = HashMap::new();
        let mut posts: Vec<(Digest, u8)> = Vec::with_capacity(4 * events.len());
        for (event, number) in events.iter().zip(1..=u8::MAX) {
            if !indexed {
                break;
            }
            for long in Long::of(event) {
                longs.entry(long).or_default().push(number);
            }
            posts.extend(Digest::short_terms(event).into_iter().map(|digest| (digest, number)));
        }
        posts.sort_unstable();
        // An event may name an entity once only, but two kinds could be spelled alike.
        posts.dedup();
        let same = posts.chunk_by(|one, other| one.0 == other.0);
        let shorts = same
            .filter_map(|posts| Some((posts.first()?.0, posts.iter().map(|(_, number)| *number).collect())));
        Self {
            shorts: shorts.collect(),
            longs: longs.into_iter().map(|(long, numbers)| (long.field(), numbers)).collect(),
        }
    }
}

/// A batch on its way: what is settled of each event, and what is still to be sent.
struct Work<'a> {
    batch: &'a [Event],
    atomicity: Atomicity,
    /// For each event the first of its id.
    firsts: Vec<usize>,
    settled: Vec<Option<AppendOutcome>>,
}

impl<'a> Work<'a> {
    fn new(batch: &'a [Event], atomicity: Atomicity) -> Self {
        let mut first_of_id = HashMap::new();
        let firsts = batch
            .iter()
            .enumerate()
            .map(|(index, event)| *first_of_id.entry(event.id()).or_insert(index))
            .collect();
        Self { batch, atomicity, firsts, settled: vec![None; batch.len()] }
    }

    /// The events that are to be sent: the first of each id that is not settled, and those that contradict a first which is
    /// not what is stored, for they may be.
    fn pending(&self) -> Vec<usize> {
        let is_pending = |index: usize, first: usize| {
            self.settled[index].is_none()
                && (index == first
                    || (matches!(self.settled[first], Some(AppendOutcome::Conflict(_)))
                        && !self.batch[first].same_content(&self.batch[index])))
        };
        let firsts = self.firsts.iter().enumerate();
        firsts.filter(|(index, first)| is_pending(*index, **first)).map(|(index, _)| index).collect()
    }

    /// Whether an all-or-nothing batch holds two contents of one id.
    fn is_contradictory(&self) -> bool {
        self.atomicity == Atomicity::AllOrNothing
            && self
                .firsts
                .iter()
                .zip(self.batch)
                .any(|(first, event)| !self.batch[*first].same_content(event))
    }

    fn settle(&mut self, index: usize, outcome: AppendOutcome) {
        self.settled[index] = Some(outcome);
    }

    /// Whether nothing of the batch may be stored.
    fn is_refused(&self) -> bool {
        self.atomicity == Atomicity::AllOrNothing && self.settled.iter().flatten().any(refuses)
    }

    fn outcomes(&self) -> Vec<AppendOutcome> {
        let outcome = |(index, event): (usize, &Event)| {
            let first = self.firsts[index];
            if let Some(own) = self.settled[index] {
                return own;
            }
            let same = self.batch[first].same_content(event);
            match self.settled[first] {
                None if same => AppendOutcome::NotStored,
                // The first of them has no position, nor will it get one.
                None => AppendOutcome::Conflict(Position::new(0, 0)),
                Some(AppendOutcome::Stored(at) | AppendOutcome::AlreadyStored(at)) if same => {
                    AppendOutcome::AlreadyStored(at)
                }
                Some(AppendOutcome::Stored(at) | AppendOutcome::AlreadyStored(at)) => {
                    AppendOutcome::Conflict(at)
                }
                Some(other) => other,
            }
        };
        self.batch.iter().enumerate().map(outcome).collect()
    }
}

/// Whether nothing of an all-or-nothing batch may be stored for an outcome.
pub(crate) fn refuses(outcome: &AppendOutcome) -> bool {
    matches!(outcome, AppendOutcome::Conflict(_) | AppendOutcome::Erased)
}
