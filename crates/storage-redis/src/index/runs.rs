//! Runs: the sorted terms of a stretch of the log, as one string. A fold makes a run of about a thousand events.
//! Later, adjacent runs are merged into one. The stretches of runs never overlap.
//!
//! A run with `2^bits` fences begins with `2^bits + 1` numbers of four bytes. They say how many bytes behind the
//! fences belong to terms with first bits less than 0, 1, 2 … 2^bits. Then follow the sorted terms: a term (eight
//! bytes), the number of its places (one), and the places in rising order (three each).
//!
//! A place is a sequence relative to the base of the run. With the highest bit set, a place is a chunk relative to the
//! chunk of the base. The term has a separate list in that chunk. A removed place is zero, and so is a term without
//! remaining places. Numbers are big endian.

use domain::StorageFailure;
use redis::Value;

use crate::{
    client::failure::unexpected_reply,
    engine::keys::{Keys, Term, chunk_of},
};

/// The number of bytes of a run in the manifest.
pub(crate) const LISTED: usize = 21;
/// The bytes before the places of a term, the bytes of a place, and the largest number of places behind a term. A term
/// with more places is repeated.
const BEFORE_PLACES: usize = 9;
const PLACE: usize = 3;
const MOST_PLACES: usize = 255;
/// About how many places are between two fences.
const BETWEEN_FENCES: usize = 128;
/// The largest number of bits of a fence.
const MOST_BITS: u32 = 16;
/// The number of sequences over which a run may reach. The highest bit of a place has another meaning.
pub(crate) const REACH: u64 = 1 << 23;
/// The bit that marks a place as a list.
const LIST: u32 = 1 << 23;

/// The target of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// An event, by its sequence.
    Event(u64),
    /// The term's list in a chunk.
    List(u64),
}

/// A run, as the manifest states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunId {
    /// The sequence before its first event, and the sequence of its last event.
    pub(crate) base: u64,
    pub(crate) through: u64,
    /// The number of places of all its terms.
    pub(crate) entries: u32,
    /// It has `2^bits` fences.
    pub(crate) bits: u8,
    /// Its length in bytes.
    pub(crate) bytes: u32,
}

impl RunId {
    pub(crate) fn key(&self, keys: &Keys) -> String {
        keys.run(self.base, self.through)
    }

    /// Returns its entry in the manifest.
    pub(crate) fn listed(&self) -> [u8; LISTED] {
        let mut bytes = [0; LISTED];
        let stretch =
            [self.base, self.through].into_iter().flat_map(|number| number.to_be_bytes().into_iter().skip(2));
        let all =
            stretch.chain(self.entries.to_be_bytes()).chain([self.bits]).chain(self.bytes.to_be_bytes());
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
            bytes: number(17, 21) as u32,
        }
    }

    /// Returns the offset of its terms.
    fn header(&self) -> usize {
        4 * ((1usize << self.bits.min(31)) + 1)
    }

    /// Returns its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Returns the offset of the two fences around a term: eight bytes.
    pub(crate) fn fences_at(&self, term: Term) -> usize {
        4 * term.fence(self.bits)
    }

    /// Returns the offset and the length of the terms between two fences. None if there are no terms.
    pub(crate) fn between(&self, fences: &[u8]) -> Option<(usize, usize)> {
        let ([from, to], []) = fences.as_chunks::<4>() else { return None };
        let (from, to) = (u32::from_be_bytes(*from) as usize, u32::from_be_bytes(*to) as usize);
        (to > from).then(|| (self.header() + from, to - from))
    }

    /// Returns the place of an event in the form of the run.
    pub(crate) fn place_of(&self, sequence: u64) -> [u8; PLACE] {
        let [_, place @ ..] = (sequence.saturating_sub(self.base) as u32).to_be_bytes();
        place
    }

    /// Returns whether the run covers the terms of an event.
    pub(crate) fn reaches(&self, sequence: u64) -> bool {
        self.base < sequence && sequence <= self.through
    }

    /// Parses a place. None if the place was removed.
    fn place(&self, [a, b, c]: [u8; PLACE]) -> Option<Place> {
        match u32::from_be_bytes([0, a, b, c]) {
            0 => None,
            place if place & LIST == 0 => Some(Place::Event(self.base + u64::from(place))),
            place => Some(Place::List(chunk_of(self.base) + u64::from(place & !LIST))),
        }
    }

    fn spelled(&self, place: Place) -> [u8; PLACE] {
        match place {
            Place::Event(sequence) => self.place_of(sequence),
            Place::List(chunk) => {
                let chunk = chunk.saturating_sub(chunk_of(self.base)) as u32;
                let [_, place @ ..] = (LIST | chunk).to_be_bytes();
                place
            }
        }
    }
}

/// The list of all runs, in the order of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest(pub(crate) Vec<RunId>);

impl Manifest {
    /// Parses the answer of `GET`.
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

    /// Returns the run that covers the terms of an event.
    pub(crate) fn of(&self, sequence: u64) -> Option<&RunId> {
        self.0.iter().find(|run| run.reaches(sequence))
    }
}

/// A new run.
pub(crate) struct Run {
    pub(crate) id: RunId,
    pub(crate) bytes: Vec<u8>,
}

impl Run {
    /// Returns the run with the terms of a stretch. It names each list once.
    pub(crate) fn of(base: u64, through: u64, mut entries: Vec<(Term, Place)>) -> Self {
        entries.sort_unstable();
        entries.dedup();
        let bits = (entries.len() / BETWEEN_FENCES).max(1).ilog2().min(MOST_BITS) as u8;
        let mut id = RunId { base, through, entries: entries.len() as u32, bits, bytes: 0 };
        let (mut fences, mut terms) = (Vec::with_capacity(1 << bits), Vec::with_capacity(6 * entries.len()));
        for same in entries.chunk_by(|one, other| one.0 == other.0) {
            let Some((term, _)) = same.first() else { continue };
            fences.resize(fences.len().max(term.fence(bits) + 1), terms.len() as u32);
            for places in same.chunks(MOST_PLACES) {
                terms.extend(term.0);
                terms.push(places.len() as u8);
                terms.extend(places.iter().flat_map(|(_, place)| id.spelled(*place)));
            }
        }
        fences.resize((1 << bits) + 1, terms.len() as u32);
        let mut bytes: Vec<u8> = fences.into_iter().flat_map(u32::to_be_bytes).collect();
        bytes.extend(terms);
        id.bytes = bytes.len() as u32;
        Self { id, bytes }
    }
}

/// Returns the terms of a piece of a run, with their places.
pub(crate) fn terms<'b>(id: &'b RunId, piece: &'b [u8]) -> impl Iterator<Item = (Term, Place)> + 'b {
    let mut rest = piece;
    let groups = std::iter::from_fn(move || {
        let (before, behind) = rest.split_at_checked(BEFORE_PLACES)?;
        let [a, b, c, d, e, f, g, h, count] = before.try_into().ok()?;
        let (places, behind) = behind.split_at_checked(PLACE * usize::from(count))?;
        rest = behind;
        Some((Term([a, b, c, d, e, f, g, h]), places.as_chunks::<PLACE>().0))
    });
    groups.flat_map(move |(term, places)| {
        places.iter().filter_map(move |place| Some((term, id.place(*place)?)))
    })
}

/// Returns the terms of a whole run, with their places. None if the bytes are not a whole run.
pub(crate) fn entries<'b>(
    id: &'b RunId,
    bytes: &'b [u8],
) -> Option<impl Iterator<Item = (Term, Place)> + 'b> {
    let last_fence = bytes.get(id.header().checked_sub(4)?..id.header())?.try_into().ok()?;
    let is_whole = id.header() + u32::from_be_bytes(last_fence) as usize == bytes.len();
    Some(terms(id, bytes.get(id.header()..).filter(|_| is_whole)?))
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
                assert!(len <= 12 * 4 * BETWEEN_FENCES, "{len} bytes of {count} entries");
                let own = terms(&run.id, &run.bytes[from..from + len]).filter(|(own, _)| own == term);
                let expected = wanted.iter().filter(|(own, _)| own == term).copied();
                assert!(own.eq(expected));
            }
        }
    }

    #[test]
    fn what_was_removed_is_passed_over() {
        let term = Term::of_correlation("a");
        let mut run = Run::of(2, 9, vec![(term, Place::Event(4)), (term, Place::Event(7))]);
        let first = run.id.header() + BEFORE_PLACES;
        run.bytes[first..first + PLACE].fill(0);
        let left: Vec<_> = entries(&run.id, &run.bytes).unwrap().collect();
        assert_eq!(left, [(term, Place::Event(7))]);
        run.bytes.pop();
        assert!(entries(&run.id, &run.bytes).is_none());
    }

    #[test]
    fn a_term_of_very_many_events_stands_several_times() {
        let term = Term::of_correlation("a");
        let wanted: Vec<_> = (1..=1_000).map(|sequence| (term, Place::Event(sequence))).collect();
        let run = Run::of(0, 1_000, wanted.clone());
        assert_eq!(entries(&run.id, &run.bytes).unwrap().collect::<Vec<_>>(), wanted);
        let at = run.id.fences_at(term);
        let (from, len) = run.id.between(&run.bytes[at..at + 8]).unwrap();
        assert_eq!(terms(&run.id, &run.bytes[from..from + len]).count(), 1_000);
    }

    #[test]
    fn a_manifest_knows_the_run_of_a_sequence() {
        let run = |base, through| RunId { base, through, entries: 1, bits: 0, bytes: 30 };
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
