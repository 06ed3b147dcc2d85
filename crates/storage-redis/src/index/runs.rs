//! Runs: the terms of a stretch of the log, sorted, as one string. A fold makes a run of a thousand events or so; later several
//! runs that follow each other are merged into one. Stretches of runs never overlap.
//!
//! A run of `2^bits` fences begins with `2^bits + 1` numbers of four bytes: how many entries have a term whose first bits are
//! less than 0, 1, 2 … 2^bits. Then come the entries: a term (eight bytes) and a place (four), which is a sequence counted from the
//! base of the run; or, with the highest bit set, a chunk counted from that of the base, in which the term has a list of its own.
//! An entry that was removed is zeros. Numbers are big endian.

use domain::StorageFailure;
use redis::Value;

use crate::{
    client::failure::unexpected_reply,
    engine::keys::{Keys, Term, chunk_of},
};

/// Bytes of an entry.
pub(crate) const ENTRY: usize = 12;
/// Bytes of a run in the manifest.
pub(crate) const LISTED: usize = 17;
/// Entries between two fences, about.
const BETWEEN_FENCES: usize = 128;
/// Most bits of a term that a fence goes by.
const MOST_BITS: u32 = 16;
/// Sequences that a run may reach over: the highest bit of a place says something else.
pub(crate) const REACH: u64 = 1 << 31;
/// What a place says of a list.
const LIST: u32 = 1 << 31;

/// Where a term leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// To an event.
    Event(u64),
    /// To its list in a chunk.
    List(u64),
}

/// A run as the manifest has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunId {
    /// The sequence before its first event, and that of its last one.
    pub(crate) base: u64,
    pub(crate) through: u64,
    pub(crate) entries: u32,
    /// Its fences are `2^bits`.
    pub(crate) bits: u8,
}

impl RunId {
    pub(crate) fn key(&self, keys: &Keys) -> String {
        keys.run(self.base, self.through)
    }

    /// As the manifest has it.
    pub(crate) fn listed(&self) -> [u8; LISTED] {
        let mut bytes = [0; LISTED];
        let numbers =
            self.base.to_be_bytes().into_iter().skip(2).chain(self.through.to_be_bytes().into_iter().skip(2));
        let all = numbers.chain(self.entries.to_be_bytes()).chain([self.bits]);
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        bytes
    }

    fn read(bytes: &[u8; LISTED]) -> Self {
        let number = |from: usize, to: usize| {
            bytes
                .get(from..to)
                .unwrap_or_default()
                .iter()
                .fold(0, |all: u64, byte| all << 8 | u64::from(*byte))
        };
        Self {
            base: number(0, 6),
            through: number(6, 12),
            entries: number(12, 16) as u32,
            bits: number(16, 17) as u8,
        }
    }

    /// Where its entries begin.
    pub(crate) fn header(&self) -> usize {
        4 * ((1usize << self.bits.min(31)) + 1)
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.header() + ENTRY * self.entries as usize
    }

    /// Where its fences beside a term stand: eight bytes.
    pub(crate) fn fences_at(&self, term: Term) -> usize {
        4 * term.fence(self.bits)
    }

    /// Where the entries between two fences stand in the run, and how many bytes they are; none where there are none.
    pub(crate) fn between(&self, fences: &[u8]) -> Option<(usize, usize)> {
        let ([from, to], []) = fences.as_chunks::<4>() else { return None };
        let (from, to) = (u32::from_be_bytes(*from) as usize, u32::from_be_bytes(*to) as usize);
        (to > from).then(|| (self.header() + ENTRY * from, ENTRY * (to - from)))
    }

    /// What an entry says.
    pub(crate) fn entry(&self, bytes: &[u8; ENTRY]) -> (Term, Place) {
        let [a, b, c, d, e, f, g, h, place @ ..] = *bytes;
        let place = u32::from_be_bytes(place);
        let place = match place & LIST {
            0 => Place::Event(self.base + u64::from(place)),
            _ => Place::List(chunk_of(self.base) + u64::from(place & !LIST)),
        };
        (Term([a, b, c, d, e, f, g, h]), place)
    }

    fn spelled(&self, (term, place): (Term, Place)) -> [u8; ENTRY] {
        let place = match place {
            Place::Event(sequence) => u32::from_be_bytes(self.place_of(sequence)),
            Place::List(chunk) => LIST | chunk.saturating_sub(chunk_of(self.base)) as u32,
        };
        let mut bytes = [0; ENTRY];
        bytes.iter_mut().zip(term.0.into_iter().chain(place.to_be_bytes())).for_each(|(to, from)| *to = from);
        bytes
    }

    /// How it has the place of an event.
    pub(crate) fn place_of(&self, sequence: u64) -> [u8; 4] {
        (sequence.saturating_sub(self.base) as u32).to_be_bytes()
    }

    /// Whether the terms of an event are in it.
    pub(crate) fn reaches(&self, sequence: u64) -> bool {
        self.base < sequence && sequence <= self.through
    }
}

/// Which runs there are, in the order of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest(pub(crate) Vec<RunId>);

impl Manifest {
    /// Reads what `GET` answered.
    pub(crate) fn read_answer(answer: &Value) -> Result<Self, StorageFailure> {
        let bytes = match answer {
            Value::Nil => return Ok(Self::default()),
            Value::BulkString(bytes) => bytes,
            _ => return Err(unexpected_reply("the list of runs")),
        };
        let (listed, []) = bytes.as_chunks::<LISTED>() else {
            return Err(StorageFailure::Corrupt("the list of runs cannot be read".to_owned()));
        };
        Ok(Self(listed.iter().map(RunId::read).collect()))
    }

    /// The run that an event's terms are in.
    pub(crate) fn of(&self, sequence: u64) -> Option<&RunId> {
        self.0.iter().find(|run| run.reaches(sequence))
    }
}

/// A run that is made.
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) bytes: Vec<u8>,
}

impl Run {
    /// Of the terms of a stretch. What leads nowhere is left out; a list is named once.
    pub(crate) fn of(base: u64, through: u64, mut entries: Vec<(Term, Place)>) -> Self {
        entries.retain(|(term, _)| *term != Term::GONE);
        entries.sort_unstable();
        entries.dedup();
        let bits = (entries.len() / BETWEEN_FENCES).max(1).ilog2().min(MOST_BITS) as u8;
        let id = RunId { base, through, entries: entries.len() as u32, bits };
        let mut bytes = Vec::with_capacity(id.len());
        let mut at = 0;
        for fence in 0..=1usize << bits {
            while entries.get(at).is_some_and(|(term, _)| term.fence(bits) < fence) {
                at += 1;
            }
            bytes.extend((at as u32).to_be_bytes());
        }
        for entry in entries {
            bytes.extend(id.spelled(entry));
        }
        Self { id, bytes }
    }
}

/// The entries of a run that was read whole.
pub(crate) fn entries<'b>(
    id: &'b RunId,
    bytes: &'b [u8],
) -> Option<impl Iterator<Item = (Term, Place)> + 'b> {
    let (entries, []) = bytes.get(id.header()..)?.as_chunks::<ENTRY>() else { return None };
    (entries.len() == id.entries as usize).then(|| entries.iter().map(|entry| id.entry(entry)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;
    use crate::engine::keys::CHUNK;

    fn made(random: &mut fastrand::Rng, base: u64, count: usize) -> Vec<(Term, Place)> {
        let mut entries: Vec<(Term, Place)> = (0..count)
            .map(|_| {
                let term = Term::of_correlation(&random.u32(0..count as u32 / 3 + 1).to_string());
                (term, Place::Event(base + random.u64(1..5_000)))
            })
            .collect();
        entries.push((Term::of_correlation("long"), Place::List(chunk_of(base) + 1)));
        entries.sort_unstable();
        entries.dedup();
        entries
    }

    #[test]
    fn what_is_between_the_fences_of_a_term_is_all_that_it_has() {
        let random = &mut fastrand::Rng::with_seed(3);
        for count in [0, 1, 100, 300, 5_000, 40_000] {
            let base = random.u64(..10 * CHUNK);
            let wanted = made(random, base, count);
            let run = Run::of(base, base + 6_000, wanted.clone());
            assert_eq!(run.bytes.len(), run.id.len());
            assert_eq!(RunId::read(&run.id.listed()), run.id);
            assert_eq!(entries(&run.id, &run.bytes).unwrap().collect::<Vec<_>>(), wanted);
            for (term, _) in wanted.iter().step_by(count / 50 + 1) {
                let at = run.id.fences_at(*term);
                let (from, len) = run.id.between(&run.bytes[at..at + 8]).unwrap();
                assert!(len <= ENTRY * (4 * BETWEEN_FENCES), "{len} bytes of {count} entries");
                let (window, []) = run.bytes[from..from + len].as_chunks::<ENTRY>() else { panic!() };
                let own = window.iter().map(|entry| run.id.entry(entry)).filter(|(own, _)| own == term);
                let expected = wanted.iter().filter(|(own, _)| own == term).copied();
                assert!(own.eq(expected));
            }
        }
    }

    #[test]
    fn what_was_removed_is_left_out_of_a_run() {
        let entries = vec![(Term::GONE, Place::Event(3)), (Term::of_correlation("a"), Place::Event(4))];
        assert_eq!(Run::of(2, 5, entries).id.entries, 1);
    }

    #[test]
    fn a_manifest_knows_the_run_of_a_sequence() {
        let run = |base, through| RunId { base, through, entries: 1, bits: 0 };
        let listed = [run(0, 10), run(10, 12), run(20, 30)];
        let answer = Value::BulkString(listed.iter().flat_map(RunId::listed).collect());
        let manifest = Manifest::read_answer(&answer).unwrap();
        assert_eq!(manifest.0, listed);
        assert_eq!(manifest.of(10), Some(&listed[0]));
        assert_eq!(manifest.of(11), Some(&listed[1]));
        assert_eq!(manifest.of(15), None);
        assert!(Manifest::read_answer(&Value::BulkString(vec![1; 16])).is_err());
    }
}
