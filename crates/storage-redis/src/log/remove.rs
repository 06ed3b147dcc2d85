//! Removes events from the log and from every index: in each step, a page of events of one chunk.

use std::{
    collections::{BTreeMap, HashMap},
    slice,
};

use domain::{
    Event, StorageFailure, Tally,
    ports::{
        RetentionMode,
        engine::{Outcome, RemovalKind, Removed, Space, SpaceKind, Transaction, log},
    },
    time::unix_micros,
};
use redis::{Cmd, FromRedisValue, Value, cmd};

use crate::{
    client::{failure::unexpected_reply, optimistic_retry::OptimisticRetry, reply::text},
    engine::{
        commit,
        keys::{CHUNK, Digest, Long, Term, chunk_of},
        partition::Partition,
        program::Program,
    },
    index::{
        dictionary::Posted,
        fold,
        lookup::{self, Dictionary},
        merge,
        runs::{self, Manifest, Place, RunId},
        short, tally,
    },
    log::rewrite,
    server::functions,
};

/// The largest number of events of one call. Numbers of events are bytes, and a call should not block the server for
/// long.
pub(crate) const AT_ONCE: usize = 200;
/// The least number of events that were removed from inside a full chunk before it is rewritten. It must also be at
/// least the number of events that are left.
const MANY_HOLES: u64 = 1_000;

/// The terms under which the indexes list an event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The id. None if it is unknown.
    pub(crate) id: Option<Digest>,
    /// Long terms, by their names in the directory.
    pub(crate) longs: Vec<String>,
    pub(crate) shorts: Vec<Term>,
}

impl Terms {
    pub(crate) fn of(event: &Event, keeps: RetentionMode) -> Self {
        let id = Some(Digest::of_id(event.id()));
        if keeps == RetentionMode::UntilDelivered {
            return Self { id, ..Self::default() };
        }
        Self { id, longs: Long::of(event).iter().map(Long::field).collect(), shorts: Term::of(event) }
    }
}

/// Returns for each count the events that it includes, by their numbers from 1. A damaged event counts under its known
/// long terms.
fn counted(entries: &[log::Entry], terms: &[Terms]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut counted: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for ((entry, terms), number) in entries.iter().zip(terms).zip(1..=u8::MAX) {
        let mut tally = Tally::default();
        match entry {
            Ok(stored) => tally.add_event(&stored.event),
            Err(_) => tally::add(&mut tally, terms.longs.iter().map(|field| (field.as_str(), 1))),
        }
        tally.rows().for_each(|(row, _)| counted.entry(row.key).or_default().push(number));
    }
    counted
}

/// Returns the name of a kind of removal in the function.
fn mode(kind: RemovalKind) -> &'static str {
    match kind {
        RemovalKind::Oldest => "prefix",
        RemovalKind::Among => "middle",
        RemovalKind::Erase => "erase",
    }
}

/// The answer of the function.
enum Answer {
    Done {
        events: u64,
        bytes: u64,
        /// How many events were removed from inside the chunk so far, and how many the chunk still has.
        holes: u64,
        left: u64,
    },
    Refused(usize),
    /// Nothing was done. The caller's known state was out of date, and is now updated.
    Moved,
    /// Nothing was done. The terms of some of the events are not folded yet.
    MustFold,
}

/// Removes events and performs the removal's transaction in the same step. The events must be of one chunk, and at
/// most [`AT_ONCE`].
pub(crate) async fn remove(
    partition: &Partition,
    removal: &log::Removal<'_>,
) -> Result<Removed, StorageFailure> {
    Remover { partition }.remove(removal).await
}

/// Removes events from one partition.
struct Remover<'p> {
    partition: &'p Partition,
}

impl Remover<'_> {
    async fn remove(&self, removal: &log::Removal<'_>) -> Result<Removed, StorageFailure> {
        let Some(chunk) = removal.entries.first().map(|first| chunk_of(log::sequence_of(first))) else {
            return Ok(match commit::commit(self.partition, slice::from_ref(removal.with)).await?.pop() {
                Some(Outcome::Refused { guard }) => Removed::Refused { guard },
                _ => Removed::Done { events: 0, bytes: 0 },
            });
        };
        let is_elsewhere = |entry: &log::Entry| chunk_of(log::sequence_of(entry)) != chunk;
        if removal.entries.len() > AT_ONCE || removal.entries.iter().any(is_elsewhere) {
            return Err(StorageFailure::Other(format!(
                "one removal takes at most {AT_ONCE} events, of one stretch of {CHUNK} sequences"
            )));
        }
        let damaged: Vec<u64> =
            removal.entries.iter().filter_map(|entry| Some(entry.as_ref().err()?.sequence)).collect();
        let mut of_damaged = self.terms_of_damaged(&damaged).await?;
        let terms: Vec<Terms> = removal
            .entries
            .iter()
            .map(|entry| match entry {
                Ok(stored) => Terms::of(&stored.event, self.partition.keeps()),
                Err(damaged) => of_damaged.remove(&damaged.sequence).unwrap_or_default(),
            })
            .collect();
        let mut tries = OptimisticRetry::new();
        loop {
            // Pending terms are in no run, so they must be folded first. The function notices runs that are merged
            // meanwhile.
            let (pending, manifest) = short::ground(self.partition).await?;
            let last = removal.entries.last().map_or(0, log::sequence_of);
            if pending.base().is_some_and(|base| base < last) {
                fold::all(self.partition).await?;
                continue;
            }
            let command = self.remove_command(chunk, removal, &terms, &manifest);
            match self.read_remove(self.partition.link().call_command(&command).await?)? {
                Answer::Refused(guard) => return Ok(Removed::Refused { guard }),
                Answer::Moved => tries.again().await?,
                Answer::MustFold => fold::all(self.partition).await?,
                Answer::Done { events, bytes, holes, left } => {
                    if left == 0 {
                        merge::drop_gone(self.partition).await?;
                    }
                    // The newest chunk is not rewritten before it is full.
                    let is_full = chunk != chunk_of(self.partition.known().head + 1);
                    if removal.kind == RemovalKind::Among && is_full && holes >= MANY_HOLES.max(left) {
                        // If other removals prevent the rewrite, the next removal repeats it.
                        rewrite::rewrite(self.partition, chunk).await?;
                    }
                    return Ok(Removed::Done { events, bytes });
                }
            }
        }
    }

    fn read_remove(&self, answer: Value) -> Result<Answer, StorageFailure> {
        let Value::Array(parts) = answer else { return Err(unexpected_reply("a removal")) };
        match parts.as_slice() {
            [what, Value::Int(events), Value::Int(bytes), Value::Int(holes), Value::Int(left)]
                if text(what) == Some("ok") =>
            {
                let number = |number: &i64| u64::try_from(*number).unwrap_or(0);
                Ok(Answer::Done {
                    events: number(events),
                    bytes: number(bytes),
                    holes: number(holes),
                    left: number(left),
                })
            }
            [what, Value::Int(guard)] if text(what) == Some("refused") => {
                Ok(Answer::Refused(usize::try_from(guard - 1).map_err(|_| unexpected_reply("a removal"))?))
            }
            [what] if text(what) == Some("fold") => Ok(Answer::MustFold),
            [what, rest @ ..] if text(what) == Some("moved") => {
                self.partition.learn_moved(rest)?;
                Ok(Answer::Moved)
            }
            _ => Err(unexpected_reply("a removal")),
        }
    }

    fn remove_command(
        &self,
        chunk: u64,
        removal: &log::Removal<'_>,
        terms: &[Terms],
        manifest: &Manifest,
    ) -> Cmd {
        let (known, keys) = (self.partition.known(), self.partition.keys());
        let mut longs: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        // Runs by their number from 1. The number 0 means that no run covers the event.
        let mut runs: Vec<&RunId> = Vec::new();
        let mut shorts: BTreeMap<(usize, Term), (Vec<u8>, Vec<u8>)> = BTreeMap::new();
        for ((entry, terms), number) in removal.entries.iter().zip(terms).zip(1..=u8::MAX) {
            for field in &terms.longs {
                longs.entry(field).or_default().push(number);
            }
            let (sequence, run) = (log::sequence_of(entry), manifest.of(log::sequence_of(entry)));
            if let Some(run) = run.filter(|run| !terms.shorts.is_empty() && !runs.contains(run)) {
                runs.push(run);
            }
            let run = run.and_then(|run| Some((runs.iter().position(|own| *own == run)? + 1, run)));
            for term in &terms.shorts {
                let (places, numbers) = shorts.entry((run.map_or(0, |(at, _)| at), *term)).or_default();
                places.extend(run.map_or([0; 3], |(_, run)| run.place_of(sequence)));
                numbers.push(number);
            }
        }
        let bucket = |digest: Digest| keys.bucket(digest.bucket(known.level, known.split));
        let mut names = vec![keys.meta(), keys.log(chunk), keys.chunks(), keys.directory(chunk)];
        names.extend([keys.replayed(chunk), keys.holes(), keys.unscrubbed(), keys.copy_of(chunk)]);
        names.push(keys.space(&Space::of(SpaceKind::Tally)));
        names.extend(longs.keys().map(|field| keys.long(chunk, field)));
        names.extend(runs.iter().map(|run| run.key(keys)));
        names.extend(shorts.keys().map(|(_, term)| keys.long(chunk, &term.field())));
        // If the id is unknown, nothing is looked up, so any bucket will do.
        names.extend(terms.iter().map(|terms| terms.id.map_or_else(|| keys.bucket(0), bucket)));
        let transactions: &[Transaction] = slice::from_ref(removal.with);
        let program = Program::of(keys, known, transactions);
        names.extend(program.keys().iter().cloned());

        let mut command = Cmd::new();
        command.arg("FCALL").arg(functions::name("remove")).arg(names.len()).arg(&names);
        command.arg(chunk).arg(known.level).arg(known.split).arg(mode(removal.kind));
        command.arg(removal.entries.len()).arg(longs.len()).arg(shorts.len());
        command.arg(runs.iter().map(|run| run.bits).collect::<Vec<u8>>());
        for (entry, terms) in removal.entries.iter().zip(terms) {
            command.arg(format!("{}-{}", log::sequence_of(entry), unix_micros(log::stored_at(entry))));
            command.arg(terms.id.as_ref().map_or(&[][..], |digest| &digest.0[..]));
            command.arg(log::bytes_of(entry));
        }
        for (field, numbers) in &longs {
            command.arg(field).arg(&numbers[..]);
        }
        for ((run, term), (places, numbers)) in &shorts {
            command.arg(&term.0[..]).arg(term.field()).arg(*run).arg(&places[..]).arg(&numbers[..]);
        }
        tally::put(&mut command, counted(removal.entries, terms).into_iter());
        program.put(&mut command);
        command
    }

    /// Returns the index entries of events that cannot be read. Only a walk over the whole dictionary can find their
    /// ids.
    async fn terms_of_damaged(&self, damaged: &[u64]) -> Result<HashMap<u64, Terms>, StorageFailure> {
        let mut found: HashMap<u64, Terms> = HashMap::new();
        if damaged.is_empty() {
            return Ok(found);
        }
        let mut scan = Dictionary::of(self.partition).walk().await?;
        while let Some(values) = scan.next(self.partition).await? {
            for (digest, value) in values {
                if let Posted::Id(sequence) = Posted::read(&value)
                    && damaged.contains(&sequence)
                {
                    found.entry(sequence).or_default().id = Some(digest);
                }
            }
        }
        self.shorts_of_damaged(damaged, &mut found).await?;
        let chunk = damaged.first().map_or(0, |sequence| chunk_of(*sequence));
        let mut command = cmd("HKEYS");
        command.arg(self.partition.keys().directory(chunk));
        let fields: Vec<String> =
            FromRedisValue::from_redis_value(self.partition.link().read(&command).await?)
                .map_err(|_| unexpected_reply("a directory"))?;
        for field in fields {
            let list = self.partition.keys().long(chunk, &field);
            for sequence in
                lookup::in_list(self.partition, &list, damaged, |sequence| sequence % CHUNK).await?
            {
                let terms = found.entry(sequence).or_default();
                match Term::of_field(&field) {
                    Some(term) => terms.shorts.push(term),
                    None => terms.longs.push(field.clone()),
                }
            }
        }
        Ok(found)
    }

    /// Adds the terms that runs have for events that cannot be read.
    async fn shorts_of_damaged(
        &self,
        damaged: &[u64],
        found: &mut HashMap<u64, Terms>,
    ) -> Result<(), StorageFailure> {
        let mut tries = OptimisticRetry::new();
        // Pending terms are in no run, so they must be folded first.
        fold::all(self.partition).await?;
        'all: loop {
            let (_, manifest) = short::ground(self.partition).await?;
            let mut shorts: Vec<(u64, Term)> = Vec::new();
            for run in manifest.0.iter().filter(|run| damaged.iter().any(|at| run.reaches(*at))) {
                // The run no longer exists, because it was merged into another one meanwhile.
                let Some(bytes) = merge::read(self.partition, run).await? else {
                    tries.again().await?;
                    continue 'all;
                };
                for (term, place) in runs::entries(run, &bytes).into_iter().flatten() {
                    if let Place::Event(sequence) = place
                        && damaged.contains(&sequence)
                    {
                        shorts.push((sequence, term));
                    }
                }
            }
            for (sequence, term) in shorts {
                found.entry(sequence).or_default().shorts.push(term);
            }
            return Ok(());
        }
    }
}
