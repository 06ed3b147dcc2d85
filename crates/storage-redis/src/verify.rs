//! Verification: compares every event with every index entry, chunk by chunk, in bounded memory, while other clients
//! write.
//!
//! Long terms are compared chunk by chunk. The dictionary and the runs mix all chunks. So the log and these indexes
//! are walked once each. Each walk sums a digest of its pairs (term, position) for each stretch of positions. Only a
//! stretch with different sums is compared pair by pair. The walks do not form one snapshot, so each suspected fault
//! is checked again before it is reported.

mod dictionary;
mod terms;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use domain::{
    StorageFailure,
    ports::{RetentionMode, VerifyReport, engine::Checked},
};
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    client::failure::unexpected_reply,
    engine::{
        keys::{CHUNK, Term},
        partition::Partition,
        state::State,
    },
    index::{lookup::in_list, pending::Pending, short},
    log::{entries::Entry, remove::Terms, walk::LogWalk},
    verify::dictionary::Sums,
};

/// The number of values of a list that one read returns.
pub(crate) const VALUES_AT_ONCE: usize = 10_000;

/// Verifies the log of a partition and its indexes.
pub(crate) async fn verify(store: &Partition, checked: Checked<'_>) -> Result<VerifyReport, StorageFailure> {
    let before = store.state().await?;
    let mut log = LogCheck::new(store, before.head, checked);
    let chunks = store.chunks().await?;
    for chunk in &chunks {
        log.chunk(*chunk).await?;
    }
    let LogCheck { mut report, sums, bytes, .. } = log;
    report.events = sums.events;
    let fields = crate::verify::dictionary::check(store, &before, &chunks, sums, &mut report).await?;
    let after = store.state().await?;
    check_totals(&before, &after, bytes, fields, &mut report);
    Ok(report)
}

/// Compares the counters of the store, unless events were removed meanwhile.
fn check_totals(counted: &State, after: &State, bytes: u64, fields: u64, report: &mut VerifyReport) {
    if !after.kept_all_since(counted) {
        return;
    }
    let events = report.events;
    if (counted.events, counted.bytes) != (events, bytes) {
        report.add(
            None,
            format!(
                "the store counts {} events of {} bytes, and holds {events} of {bytes} bytes",
                counted.events, counted.bytes
            ),
        );
    }
    // Other clients may append while the dictionary is counted.
    if !(counted.fields..=after.fields).contains(&fields) {
        report.add(
            None,
            format!("the store counts {} fields of its dictionary, and holds {fields}", counted.fields),
        );
    }
}

/// The walk over the log, with the lists of each chunk.
struct LogCheck<'s> {
    store: &'s Partition,
    /// Events behind this sequence are left to the next verification.
    until: u64,
    checked: Checked<'s>,
    report: VerifyReport,
    sums: Sums,
    bytes: u64,
}

/// The offsets of each long term in a chunk, and the offsets of events that cannot be read.
#[derive(Default)]
struct OfChunk {
    terms: BTreeMap<String, Vec<u64>>,
    damaged: HashSet<u64>,
    events: u64,
}

impl<'s> LogCheck<'s> {
    fn new(store: &'s Partition, until: u64, checked: Checked<'s>) -> Self {
        Self { store, until, checked, report: VerifyReport::default(), sums: Sums::default(), bytes: 0 }
    }

    async fn chunk(&mut self, chunk: u64) -> Result<(), StorageFailure> {
        let (mut met, mut walk) = (OfChunk::default(), LogWalk::within(chunk * CHUNK, self.until));
        while let Some(entries) = walk.next(self.store).await? {
            for entry in &entries {
                self.entry(entry, &mut met);
            }
            (self.checked)(self.sums.events);
        }
        let names = terms::directory(self.store, chunk).await?;
        let is_long = |name: &String| Term::of_field(name).is_none();
        let has_none = names.is_empty();
        let directory: HashSet<String> = names.into_iter().filter(is_long).collect();
        // Read before any list. A term that is folded meanwhile is then in both.
        let pending = short::pending(self.store).await?;
        if met.events == 0 && has_none {
            return self.check_absent(chunk).await;
        }
        let fields: BTreeSet<String> = directory.iter().chain(met.terms.keys()).cloned().collect();
        for field in fields {
            let expected = met.terms.remove(&field).unwrap_or_default();
            let listed = directory.contains(&field);
            self.list(chunk, &field, listed, &expected, &met.damaged, &pending).await?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, met: &mut OfChunk) {
        met.events += 1;
        self.bytes += entry.bytes;
        let offset = entry.sequence % CHUNK;
        match &entry.event {
            Err(detail) => {
                met.damaged.insert(offset);
                self.sums.damaged(entry.sequence);
                let at = self.store.position(entry.sequence);
                self.report.add(Some(at), format!("the event cannot be read: {detail}"));
            }
            Ok(event) => {
                let terms = Terms::of(event, self.store.keeps());
                for field in &terms.longs {
                    match met.terms.get_mut(field) {
                        Some(offsets) => offsets.push(offset),
                        None => drop(met.terms.insert(field.clone(), vec![offset])),
                    }
                }
                self.sums.event(entry.sequence, &terms);
            }
        }
    }

    /// Checks a chunk that is on the list of chunks and has no events or names.
    async fn check_absent(&mut self, chunk: u64) -> Result<(), StorageFailure> {
        let keys = self.store.keys();
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ZSCORE").arg(keys.chunks()).arg(chunk);
        pipeline.cmd("EXISTS").arg(&[keys.log(chunk), keys.directory(chunk)][..]);
        let answers = self.store.link().read_all(&pipeline).await?;
        if let [score, Value::Int(0)] = answers.as_slice()
            && *score != Value::Nil
        {
            self.report.add(None, format!("the chunk {chunk} is on the list of chunks, and is not there"));
        }
        Ok(())
    }

    /// Compares a list of a chunk with its events, offset by offset.
    async fn list(
        &mut self,
        chunk: u64,
        field: &str,
        listed: bool,
        expected: &[u64],
        damaged: &HashSet<u64>,
        pending: &Pending,
    ) -> Result<(), StorageFailure> {
        let mut offsets = read_list(self.store, &self.store.keys().long(chunk, field)).await?;
        if listed == offsets.is_empty() {
            self.check_directory(chunk, field).await?;
        }
        if let Some(base) = pending.base() {
            offsets.retain(|offset| chunk * CHUNK + offset <= base);
            offsets.extend(pending.of_long(chunk, field).into_iter().map(|sequence| sequence % CHUNK));
        }
        self.report.index_entries += offsets.len() as u64;
        let known = |offset: &&u64| chunk * CHUNK + **offset <= self.until && !damaged.contains(offset);
        if offsets.iter().filter(known).eq(expected) {
            return Ok(());
        }
        let found: HashSet<u64> = offsets.iter().copied().collect();
        let wanted: HashSet<u64> = expected.iter().copied().collect();
        let missing: Vec<u64> = expected.iter().copied().filter(|offset| !found.contains(offset)).collect();
        let surplus = offsets.iter().copied().filter(|offset| known(&offset) && !wanted.contains(offset));
        let surplus: Vec<u64> = surplus.collect();
        self.missing(chunk, field, &missing).await?;
        self.surplus(chunk, field, &surplus).await?;
        if missing.is_empty() && surplus.is_empty() {
            self.out_of_order(chunk, field).await?;
        }
        Ok(())
    }

    async fn missing(&mut self, chunk: u64, field: &str, offsets: &[u64]) -> Result<(), StorageFailure> {
        for some in offsets.chunks(VALUES_AT_ONCE) {
            let there: HashSet<u64> = self.posted(chunk, field, some).await?.into_iter().collect();
            let gone: Vec<u64> = some
                .iter()
                .filter(|offset| !there.contains(offset))
                .map(|offset| chunk * CHUNK + offset)
                .collect();
            // If an event was removed meanwhile, its entry was removed too.
            for sequence in still_there(self.store, &gone).await? {
                self.report.add(
                    Some(self.store.position(sequence)),
                    format!("the event has no index entry under {}", name(field)),
                );
            }
        }
        Ok(())
    }

    async fn surplus(&mut self, chunk: u64, field: &str, offsets: &[u64]) -> Result<(), StorageFailure> {
        for some in offsets.chunks(VALUES_AT_ONCE) {
            let sequences: Vec<u64> = some.iter().map(|offset| chunk * CHUNK + offset).collect();
            let mut of_event = HashMap::new();
            for entry in self.store.entries_at(&sequences).await? {
                let has = entry.event.map_or(true, |event| has_field(&event, self.store.keeps(), field));
                of_event.insert(entry.sequence, has);
            }
            for offset in self.posted(chunk, field, some).await? {
                let sequence = chunk * CHUNK + offset;
                if !of_event.get(&sequence).copied().unwrap_or(false) {
                    let detail = format!("an index entry under {} leads to no such event", name(field));
                    self.report.add(Some(self.store.position(sequence)), detail);
                }
            }
        }
        Ok(())
    }

    /// Returns those offsets that are in a list or pending for it.
    async fn posted(&self, chunk: u64, field: &str, offsets: &[u64]) -> Result<Vec<u64>, StorageFailure> {
        let list = self.store.keys().long(chunk, field);
        let pending = short::pending(self.store).await?;
        let waiting: HashSet<u64> = pending.of_long(chunk, field).into_iter().collect();
        let mut found = in_list(self.store, &list, offsets, |offset| offset).await?;
        found.extend(offsets.iter().filter(|offset| waiting.contains(&(chunk * CHUNK + **offset))));
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// Reports a list that has the right events, but twice or out of order.
    async fn out_of_order(&mut self, chunk: u64, field: &str) -> Result<(), StorageFailure> {
        let offsets = read_list(self.store, &self.store.keys().long(chunk, field)).await?;
        for pair in offsets.windows(2) {
            if let [one, other] = pair
                && one >= other
            {
                let detail = format!("the index under {} names it twice or out of order", name(field));
                self.report.add(Some(self.store.position(chunk * CHUNK + other)), detail);
            }
        }
        Ok(())
    }

    /// Reports a list without an entry in the directory, or an entry without a list.
    async fn check_directory(&mut self, chunk: u64, field: &str) -> Result<(), StorageFailure> {
        let keys = self.store.keys();
        let mut pipeline = Pipeline::new();
        pipeline.cmd("HEXISTS").arg(keys.directory(chunk)).arg(field);
        pipeline.cmd("EXISTS").arg(keys.long(chunk, field));
        let answers = self.store.link().read_all(&pipeline).await?;
        let detail = match answers.as_slice() {
            [Value::Int(0), Value::Int(1)] => "lacks",
            [Value::Int(1), Value::Int(0)] => "has no list for",
            _ => return Ok(()),
        };
        self.report.add(None, format!("the directory of the chunk {chunk} {detail} {}", name(field)));
        Ok(())
    }
}

/// Reads a whole list of numbers, in pages. The list of a chunk has at most as many numbers as the chunk has
/// positions.
async fn read_list(store: &Partition, list: &str) -> Result<Vec<u64>, StorageFailure> {
    let mut all: Vec<u64> = Vec::new();
    loop {
        let mut command = cmd("LRANGE");
        command.arg(list).arg(all.len()).arg(all.len() + VALUES_AT_ONCE - 1);
        let page: Vec<u64> = FromRedisValue::from_redis_value(store.link().read(&command).await?)
            .map_err(|_| unexpected_reply("the positions of a term"))?;
        let is_last = page.len() < VALUES_AT_ONCE;
        all.extend(page);
        if is_last || all.len() as u64 > 2 * CHUNK {
            return Ok(all);
        }
    }
}

/// Returns those events that exist and can be read.
pub(crate) async fn still_there(store: &Partition, sequences: &[u64]) -> Result<Vec<u64>, StorageFailure> {
    let found = store.entries_at(sequences).await?;
    Ok(found.into_iter().filter(|entry| entry.event.is_ok()).map(|entry| entry.sequence).collect())
}

fn has_field(event: &domain::Event, keeps: RetentionMode, field: &str) -> bool {
    Terms::of(event, keeps).longs.iter().any(|own| own == field)
}

/// Returns a long term in words, from its name in the directory.
fn name(field: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let (kind, rest) = field.split_once(':').unwrap_or(("", field));
    let text = || {
        let bytes = URL_SAFE_NO_PAD.decode(rest).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    match kind {
        "t" => format!("type {:?}", text()),
        "s" => format!("source {:?}", text()),
        "h" => format!("hour {rest}"),
        _ => format!("{field:?}"),
    }
}
