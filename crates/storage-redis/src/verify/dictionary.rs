//! Verifies the indexes that are not divided into chunks, against the events of the whole log: the ids in the
//! dictionary, and the short terms in runs.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use domain::{Event, StorageFailure, ports::VerifyReport};
use redis::Value;

use crate::{
    engine::{
        keys::{Digest, Term, chunk_of},
        partition::Partition,
        state::State,
    },
    index::{dictionary::Posted, lookup::Dictionary, short},
    log::{remove::Terms, walk::LogWalk},
    verify::{still_there, terms},
};

/// The number of positions that share a sum.
const STRETCH: u64 = 4096;
/// The number of stretches that are compared pair by pair together.
const STRETCHES_AT_ONCE: usize = 8;

/// An id or a term that leads to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Name {
    Id(Digest),
    Term(Term),
}

impl Name {
    fn all(terms: &Terms) -> impl Iterator<Item = Self> + '_ {
        terms.id.iter().copied().map(Self::Id).chain(terms.shorts.iter().copied().map(Self::Term))
    }
}

/// Sums of the pairs (term, position) of a walk, by stretch.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) events: u64,
    by_stretch: HashMap<u64, u64>,
    /// Stretches with events that cannot be read.
    damaged: BTreeSet<u64>,
}

impl Sums {
    /// Adds an event.
    pub(crate) fn event(&mut self, sequence: u64, terms: &Terms) {
        self.events += 1;
        Name::all(terms).for_each(|name| self.add(sequence, name));
    }

    /// Adds an event that cannot be read.
    pub(crate) fn damaged(&mut self, sequence: u64) {
        self.events += 1;
        self.damaged.insert(sequence / STRETCH);
    }

    fn add(&mut self, sequence: u64, name: Name) {
        let mut hasher = DefaultHasher::new();
        (sequence, name).hash(&mut hasher);
        let sum = self.by_stretch.entry(sequence / STRETCH).or_insert(0);
        // Addition, not XOR, so that a duplicate entry does not cancel itself.
        *sum = sum.wrapping_add(hasher.finish());
    }

    fn differ(&self, other: &Self) -> Vec<u64> {
        let all = self.by_stretch.keys().chain(other.by_stretch.keys());
        let differs = |stretch: &&u64| self.by_stretch.get(stretch) != other.by_stretch.get(stretch);
        let mut found: Vec<u64> = all.filter(differs).copied().collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Compares the dictionary and the runs with the log. Returns the number of fields of the dictionary.
pub(crate) async fn check(
    store: &Partition,
    before: &State,
    chunks: &[u64],
    log: Sums,
    report: &mut VerifyReport,
) -> Result<u64, StorageFailure> {
    let (mut sums, mut fields, mut newest) = (Sums::default(), 0, 0);
    let mut unlisted = BTreeSet::new();
    let known: HashSet<u64> = chunks.iter().copied().collect();
    let mut meet = |name: Name, sequence: u64| {
        newest = newest.max(sequence);
        if sequence <= before.head {
            report.index_entries += 1;
            sums.add(sequence, name);
            if !known.contains(&chunk_of(sequence)) {
                unlisted.insert(chunk_of(sequence));
            }
        }
    };
    let (mut scan, mut unknown) = (Dictionary::of(store).walk().await?, 0);
    while let Some(values) = scan.next(store).await? {
        for (digest, value) in values {
            fields += 1;
            match Posted::read(&value) {
                Posted::Id(sequence) => meet(Name::Id(digest), sequence),
                Posted::Erased => {}
                Posted::Unknown => unknown += 1,
            }
        }
    }
    terms::each(store, chunks, |term, sequence| meet(Name::Term(term), sequence)).await?;
    for _ in 0..unknown {
        report.add(None, "a value of the dictionary makes no sense");
    }
    if newest > store.state().await?.head {
        report.add(Some(store.position(newest)), "an index entry leads past the head of the log");
    }
    let unlisted = check_unlisted(store, &unlisted, report).await?;
    let mut suspects = log.differ(&sums);
    // Entries in a chunk that is never read are not faults of their own.
    suspects.retain(|stretch| !unlisted.contains(&chunk_of(stretch * STRETCH)));
    for some in suspects.chunks(STRETCHES_AT_ONCE) {
        compare(store, before.head, chunks, some, report).await?;
    }
    Ok(fields)
}

/// Reports the chunks that exist without being on the list of chunks, and returns them.
async fn check_unlisted(
    store: &Partition,
    chunks: &BTreeSet<u64>,
    report: &mut VerifyReport,
) -> Result<HashSet<u64>, StorageFailure> {
    let mut found = HashSet::new();
    for chunk in chunks {
        let mut pipeline = redis::Pipeline::new();
        pipeline
            .cmd("XLEN")
            .arg(store.keys().log(*chunk))
            .cmd("ZSCORE")
            .arg(store.keys().chunks())
            .arg(*chunk);
        if let [Value::Int(events), Value::Nil] = store.link().read_all(&pipeline).await?.as_slice()
            && *events > 0
        {
            let detail = format!("the chunk {chunk} has {events} events, and is not on the list of chunks");
            report.add(Some(store.position(*chunk * crate::engine::keys::CHUNK)), detail);
            found.insert(*chunk);
        }
    }
    Ok(found)
}

/// A pair of an event and one of its terms.
type Pair = (u64, Name);

/// Compares suspect stretches pair by pair.
async fn compare(
    store: &Partition,
    until: u64,
    chunks: &[u64],
    stretches: &[u64],
    report: &mut VerifyReport,
) -> Result<(), StorageFailure> {
    let mut pairs: HashMap<Pair, i64> = HashMap::new();
    let mut damaged = HashSet::new();
    for stretch in stretches {
        let mut walk = LogWalk::within(stretch * STRETCH, (stretch * STRETCH + STRETCH - 1).min(until));
        while let Some(entries) = walk.next(store).await? {
            for entry in entries {
                let Ok(event) = &entry.event else {
                    damaged.insert(entry.sequence);
                    continue;
                };
                let terms = Terms::of(event, store.keeps());
                pairs.extend(Name::all(&terms).map(|name| ((entry.sequence, name), 1)));
            }
        }
    }
    let mut meet = |name: Name, sequence: u64| {
        if sequence <= until && stretches.contains(&(sequence / STRETCH)) {
            *pairs.entry((sequence, name)).or_insert(0) -= 1;
        }
    };
    let mut scan = Dictionary::of(store).walk().await?;
    while let Some(values) = scan.next(store).await? {
        for (digest, value) in values {
            if let Posted::Id(sequence) = Posted::read(&value) {
                meet(Name::Id(digest), sequence);
            }
        }
    }
    terms::each(store, chunks, |term, sequence| meet(Name::Term(term), sequence)).await?;
    // The terms of a damaged event are unknown. It is reported as damaged.
    let mut wrong: Vec<(Pair, i64)> = pairs
        .into_iter()
        .filter(|((sequence, _), balance)| *balance != 0 && !damaged.contains(sequence))
        .collect();
    wrong.sort_unstable();
    for ((sequence, name), balance) in wrong {
        if let Some(detail) = look_again(store, sequence, name, balance).await? {
            report.add(Some(store.position(sequence)), detail);
        }
    }
    Ok(())
}

/// Returns the fault of a pair, if the pair is still wrong.
async fn look_again(
    store: &Partition,
    sequence: u64,
    name: Name,
    balance: i64,
) -> Result<Option<String>, StorageFailure> {
    let posted = times_posted(store, sequence, name).await?;
    let Some(entry) = store.entries_at(&[sequence]).await?.pop() else {
        let gone = "an index entry leads to no event".to_owned();
        return Ok((posted > 0 && times_posted(store, sequence, name).await? > 0).then_some(gone));
    };
    let Ok(event) = entry.event else { return Ok(None) };
    Ok(match (in_words(&event, name), posted) {
        (Some(term), 0) => {
            // An event that is removed between the two reads has neither entry nor text.
            let there = !still_there(store, &[sequence]).await?.is_empty();
            there.then(|| format!("the event has no index entry under {term}"))
        }
        (Some(term), 2..) if balance < 0 => Some(format!("the index under {term} names it twice")),
        (None, 1..) => Some("an index entry leads to an event that does not have its term".to_owned()),
        _ => None,
    })
}

/// Returns how many times the index leads from a name to a sequence. The result is exact up to two.
async fn times_posted(store: &Partition, sequence: u64, name: Name) -> Result<usize, StorageFailure> {
    let digest = match name {
        Name::Term(term) => return short::times_posted(store, sequence, term).await,
        Name::Id(digest) => digest,
    };
    let value = Dictionary::of(store).values_of(&[digest]).await?.pop();
    let leads =
        matches!(&value, Some(Value::BulkString(value)) if Posted::read(value) == Posted::Id(sequence));
    Ok(usize::from(leads))
}

/// Returns the member of an event with this name, in words.
fn in_words(event: &Event, name: Name) -> Option<String> {
    let term = match name {
        Name::Id(digest) => return (Digest::of_id(event.id()) == digest).then(|| "its id".to_owned()),
        Name::Term(term) => term,
    };
    if let Some(id) = event.correlation_id().filter(|id| Term::of_correlation(id) == term) {
        return Some(format!("correlation id {id:?}"));
    }
    let (kind, id) = event.entities().find(|(kind, id)| Term::of_entity(kind, id) == term)?;
    Some(format!("{kind} {id:?}"))
}
