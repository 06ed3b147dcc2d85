//! Verification of the dictionary: ids and short terms against the events of the whole log.

use std::{
    collections::{BTreeSet, HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use domain::{Event, StorageFailure, ports::VerifyReport};
use redis::{FromRedisValue, Value, cmd};

use crate::{
    client::failure::unexpected_reply,
    engine::{
        keys::{Digest, chunk_of},
        partition::Partition,
        state::State,
    },
    index::dictionary::Posted,
    index::lookup::Dictionary,
    log::{remove::Terms, walk::LogWalk},
    verify::{VALUES_AT_ONCE, still_there},
};

/// Positions that share a sum.
const STRETCH: u64 = 4096;
/// Stretches that are looked at pair by pair together.
const STRETCHES_AT_ONCE: usize = 8;

/// Sums of the pairs (term, position) that were met, by stretch.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) events: u64,
    by_stretch: HashMap<u64, u64>,
    /// Stretches with events that cannot say what they are about.
    damaged: BTreeSet<u64>,
}

impl Sums {
    /// Adds an event.
    pub(crate) fn event(&mut self, sequence: u64, terms: &Terms) {
        self.events += 1;
        for digest in terms.id.iter().chain(&terms.shorts) {
            self.add(sequence, *digest);
        }
    }

    /// Adds an event that cannot be read.
    pub(crate) fn damaged(&mut self, sequence: u64) {
        self.events += 1;
        self.damaged.insert(sequence / STRETCH);
    }

    fn add(&mut self, sequence: u64, digest: Digest) {
        let mut hasher = DefaultHasher::new();
        (sequence, digest).hash(&mut hasher);
        let sum = self.by_stretch.entry(sequence / STRETCH).or_insert(0);
        // Added up, not XORed: an entry that stands twice must not cancel itself.
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

/// Compares the dictionary with what the log says; the number of its fields.
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
    let mut scan = Dictionary::of(store).walk().await?;
    while let Some(values) = scan.next(store).await? {
        for (digest, value) in values {
            fields += 1;
            let mut pages = Pages::new(digest, &value);
            if pages.is_unknown() {
                report.add(None, "a value of the dictionary makes no sense");
            }
            while let Some(page) = pages.next(store).await? {
                for sequence in page {
                    newest = newest.max(sequence);
                    if sequence <= before.head {
                        report.index_entries += 1;
                        sums.add(sequence, digest);
                        if !known.contains(&chunk_of(sequence)) {
                            unlisted.insert(chunk_of(sequence));
                        }
                    }
                }
            }
        }
    }
    if newest > store.state().await?.head {
        report.add(Some(store.position(newest)), "an index entry leads past the head of the log");
    }
    let unlisted = check_unlisted(store, &unlisted, report).await?;
    let mut suspects = log.differ(&sums);
    // What is in a chunk that is never read is not wrong for itself.
    suspects.retain(|stretch| !unlisted.contains(&chunk_of(stretch * STRETCH)));
    for some in suspects.chunks(STRETCHES_AT_ONCE) {
        compare(store, before.head, some, report).await?;
    }
    Ok(fields)
}

/// Of chunks that are on no list, those that are there.
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

/// The sequences of one value of the dictionary, a page at a time.
struct Pages {
    digest: Digest,
    posted: Posted,
    from: usize,
    done: bool,
}

impl Pages {
    fn new(digest: Digest, value: &[u8]) -> Self {
        Self { digest, posted: Posted::read(value), from: 0, done: false }
    }

    fn is_unknown(&self) -> bool {
        self.posted == Posted::Unknown
    }

    async fn next(&mut self, store: &Partition) -> Result<Option<Vec<u64>>, StorageFailure> {
        if self.done {
            return Ok(None);
        }
        self.done = true;
        match &self.posted {
            Posted::Id(sequence) => Ok(Some(vec![*sequence])),
            Posted::Packed(sequences) => Ok(Some(sequences.clone())),
            Posted::Erased | Posted::Unknown => Ok(None),
            Posted::List => {
                let mut command = cmd("LRANGE");
                let to = self.from + VALUES_AT_ONCE - 1;
                command.arg(store.keys().promoted(self.digest)).arg(self.from).arg(to);
                let page: Vec<u64> = FromRedisValue::from_redis_value(store.link().read(&command).await?)
                    .map_err(|_| unexpected_reply("the positions of a term"))?;
                self.from += page.len();
                self.done = page.len() < VALUES_AT_ONCE;
                Ok(Some(page))
            }
        }
    }
}

/// A pair of an event and a term of it.
type Pair = (u64, Digest);

/// Looks at suspect stretches pair by pair.
async fn compare(
    store: &Partition,
    until: u64,
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
                for digest in terms.id.iter().chain(&terms.shorts) {
                    pairs.insert((entry.sequence, *digest), 1);
                }
            }
        }
    }
    let mut scan = Dictionary::of(store).walk().await?;
    while let Some(values) = scan.next(store).await? {
        for (digest, value) in values {
            let mut pages = Pages::new(digest, &value);
            while let Some(page) = pages.next(store).await? {
                for sequence in page {
                    if sequence <= until && stretches.contains(&(sequence / STRETCH)) {
                        *pairs.entry((sequence, digest)).or_insert(0) -= 1;
                    }
                }
            }
        }
    }
    // What a damaged event was about cannot be told; it is reported as damaged.
    let mut wrong: Vec<(Pair, i64)> = pairs
        .into_iter()
        .filter(|((sequence, _), balance)| *balance != 0 && !damaged.contains(sequence))
        .collect();
    wrong.sort_unstable();
    for ((sequence, digest), balance) in wrong {
        if let Some(detail) = look_again(store, sequence, digest, balance).await? {
            report.add(Some(store.position(sequence)), detail);
        }
    }
    Ok(())
}

/// What is wrong with a pair, if anything still is.
async fn look_again(
    store: &Partition,
    sequence: u64,
    digest: Digest,
    balance: i64,
) -> Result<Option<String>, StorageFailure> {
    let posted = times_posted(store, sequence, digest).await?;
    let Some(entry) = store.entries_at(&[sequence]).await?.pop() else {
        let gone = "an index entry leads to no event".to_owned();
        return Ok((posted > 0 && times_posted(store, sequence, digest).await? > 0).then_some(gone));
    };
    let Ok(event) = entry.event else { return Ok(None) };
    let term = name(&event, digest);
    Ok(match (term, posted) {
        (Some(term), 0) => {
            // An event that is removed between the two looks has neither.
            let there = !still_there(store, &[sequence]).await?.is_empty();
            there.then(|| format!("the event has no index entry under {term}"))
        }
        (Some(term), 2..) if balance < 0 => Some(format!("the index under {term} names it twice")),
        (None, 1..) => Some("an index entry leads to an event that does not have its term".to_owned()),
        _ => None,
    })
}

/// How often the dictionary leads from a digest to a sequence, as far as two.
async fn times_posted(store: &Partition, sequence: u64, digest: Digest) -> Result<usize, StorageFailure> {
    let Some(Value::BulkString(value)) = Dictionary::of(store).values_of(&[digest]).await?.pop() else {
        return Ok(0);
    };
    match Posted::read(&value) {
        Posted::Id(own) => Ok(usize::from(own == sequence)),
        Posted::Packed(sequences) => Ok(sequences.iter().filter(|own| **own == sequence).count()),
        Posted::List => {
            let mut command = cmd("LPOS");
            command.arg(store.keys().promoted(digest)).arg(sequence).arg("COUNT").arg(2);
            let found: Vec<u64> = FromRedisValue::from_redis_value(store.link().read(&command).await?)
                .map_err(|_| unexpected_reply("the positions of a term"))?;
            Ok(found.len())
        }
        Posted::Erased | Posted::Unknown => Ok(0),
    }
}

/// The term of an event that has a digest, in words.
fn name(event: &Event, digest: Digest) -> Option<String> {
    if Digest::of_id(event.id()) == digest {
        return Some("its id".to_owned());
    }
    if let Some(id) = event.correlation_id().filter(|id| Digest::of_correlation(id) == digest) {
        return Some(format!("correlation id {id:?}"));
    }
    let mut entities = event.entities();
    let (kind, id) = entities.find(|(kind, id)| Digest::of_entity(kind, id) == digest)?;
    Some(format!("{kind} {id:?}"))
}
