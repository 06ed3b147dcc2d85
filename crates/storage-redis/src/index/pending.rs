//! The pending terms of the newest events: one string to which each append adds a record. A fold moves them into lists
//! and runs when there are many ([`crate::index::fold`]). Until then readers search them too.
//!
//! A record begins with the sequence before its first event (six bytes), the length of its body (four), and the offset
//! of the postings in the body (four). The body has these parts, with numbers in big endian:
//!
//! - the number of its events (one byte) and of its long terms (two);
//! - for each long term the length of its name (four), its name, the number of its events (one), and their numbers
//!   from 1 (one each);
//! - if any event names an entity, the number of kinds of entities (two);
//! - for each such kind the length of its name (four), its name, and the number of its events (one);
//! - the postings: a term (eight) and the number of an event (one).

use std::collections::{BTreeMap, BTreeSet};

use domain::{Event, StorageFailure};

use crate::{
    client::failure::unexpected_reply,
    engine::keys::{CHUNK, Long, Term},
};

/// The number of bytes of a posting.
const POSTING: usize = 9;

/// The body of a record, and the offset of the postings in it.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) postings: usize,
}

impl Body {
    /// Returns the body of events that are not indexed.
    pub(crate) fn none() -> Self {
        Self { bytes: Vec::new(), postings: 0 }
    }

    /// Returns the body of the events of one append, at most 255.
    pub(crate) fn of(events: &[&Event]) -> Self {
        let mut longs: BTreeMap<Long<'_>, Vec<u8>> = BTreeMap::new();
        let mut kinds: BTreeMap<&str, u8> = BTreeMap::new();
        let mut postings = Vec::with_capacity(4 * events.len());
        for (event, number) in events.iter().zip(1..=u8::MAX) {
            for long in Long::of(event) {
                longs.entry(long).or_default().push(number);
            }
            for (kind, _) in event.entities() {
                *kinds.entry(kind).or_default() += 1;
            }
            postings.extend(Term::of(event).into_iter().map(|term| (term, number)));
        }
        let mut bytes =
            Vec::with_capacity(5 + 48 * longs.len() + 16 * kinds.len() + POSTING * postings.len());
        bytes.push(events.len() as u8);
        bytes.extend((longs.len() as u16).to_be_bytes());
        for (long, numbers) in &longs {
            let field = long.field();
            bytes.extend((field.len() as u32).to_be_bytes());
            bytes.extend(field.as_bytes());
            bytes.push(numbers.len() as u8);
            bytes.extend(numbers);
        }
        if !kinds.is_empty() {
            bytes.extend((kinds.len() as u16).to_be_bytes());
        }
        for (kind, events) in &kinds {
            bytes.extend((kind.len() as u32).to_be_bytes());
            bytes.extend(kind.as_bytes());
            bytes.push(*events);
        }
        let at = bytes.len();
        for (term, number) in postings {
            bytes.extend(term.0);
            bytes.push(number);
        }
        Self { bytes, postings: at }
    }
}

/// The terms of one append.
#[derive(Debug)]
pub(crate) struct Record {
    /// The sequence before its first event.
    pub(crate) base: u64,
    pub(crate) events: u64,
    /// Long terms by their names, with the sequences of their events.
    pub(crate) longs: Vec<(String, Vec<u64>)>,
    /// The number of its events that name an entity of each kind.
    pub(crate) kinds: Vec<(String, u64)>,
    pub(crate) postings: Vec<(Term, u64)>,
    /// The offset of its end in the string.
    pub(crate) end: usize,
}

impl Record {
    /// Returns the sequence of its last event.
    pub(crate) fn last(&self) -> u64 {
        self.base + self.events
    }
}

/// The terms that are not folded yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// Records in the order of the log.
    pub(crate) records: Vec<Record>,
}

impl Pending {
    /// Parses the string.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, StorageFailure> {
        let odd = || StorageFailure::Corrupt("the terms that wait to be folded cannot be read".to_owned());
        let mut pending = Self::default();
        let mut rest = Rest { bytes, at: 0 };
        while rest.at < bytes.len() {
            pending.records.push(rest.record().ok_or_else(odd)?);
        }
        Ok(pending)
    }

    /// Parses the answer of `GET`.
    pub(crate) fn read_answer(answer: &redis::Value) -> Result<Self, StorageFailure> {
        match answer {
            redis::Value::Nil => Ok(Self::default()),
            redis::Value::BulkString(bytes) => Self::read(bytes),
            _ => Err(unexpected_reply("the terms that wait to be folded")),
        }
    }

    /// Returns the sequence before the first pending event. None if nothing is pending. All events up to it are in
    /// lists and runs.
    pub(crate) fn base(&self) -> Option<u64> {
        self.records.first().map(|record| record.base)
    }

    /// Returns the sequences of a term.
    pub(crate) fn of_term(&self, term: Term) -> impl Iterator<Item = u64> + '_ {
        let postings = self.records.iter().flat_map(|record| &record.postings);
        postings.filter(move |(own, _)| *own == term).map(|(_, sequence)| *sequence)
    }

    /// Returns the sequences of a long term in a chunk.
    pub(crate) fn of_long(&self, chunk: u64, field: &str) -> Vec<u64> {
        // All events of one append are in one chunk.
        let records = self.records.iter().filter(|record| record.last() / CHUNK == chunk);
        let own = records.flat_map(|record| &record.longs).filter(|(name, _)| name == field);
        own.flat_map(|(_, sequences)| sequences).copied().collect()
    }

    /// Returns the names of the long terms in a chunk.
    pub(crate) fn names(&self, chunk: u64) -> BTreeSet<&str> {
        let own = self.records.iter().filter(|record| record.last() / CHUNK == chunk);
        own.flat_map(|record| &record.longs).map(|(name, _)| name.as_str()).collect()
    }
}

/// The unread rest of the string.
struct Rest<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Rest<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |all, byte| all << 8 | u64::from(*byte)))
    }

    fn name(&mut self) -> Option<String> {
        let length = self.number(4)? as usize;
        Some(std::str::from_utf8(self.take(length)?).ok()?.to_owned())
    }

    fn record(&mut self) -> Option<Record> {
        let (base, length, postings_at) = (self.number(6)?, self.number(4)?, self.number(4)?);
        let body = self.at;
        let end = body.checked_add(usize::try_from(length).ok()?)?;
        let (events, count) = (self.number(1)?, self.number(2)?);
        let sequence = |number: &u8| base + u64::from(*number);
        let mut longs = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let name = self.name()?;
            let numbers = self.number(1)? as usize;
            longs.push((name, self.take(numbers)?.iter().map(sequence).collect()));
        }
        let postings_at = body.checked_add(usize::try_from(postings_at).ok()?)?;
        let mut kinds = Vec::new();
        if self.at < postings_at {
            for _ in 0..self.number(2)? {
                kinds.push((self.name()?, self.number(1)?));
            }
        }
        if self.at != postings_at {
            return None;
        }
        let (postings, []) = self.take(end.checked_sub(self.at)?)?.as_chunks::<POSTING>() else {
            return None;
        };
        let posting = |[a, b, c, d, e, f, g, h, number]: &[u8; POSTING]| {
            (Term([*a, *b, *c, *d, *e, *f, *g, *h]), sequence(number))
        };
        Some(Record { base, events, longs, kinds, postings: postings.iter().map(posting).collect(), end })
    }
}

/// Returns a record in the form in which the function writes it.
#[cfg(test)]
pub(crate) fn record(base: u64, events: &[&Event]) -> Vec<u8> {
    let body = Body::of(events);
    let mut bytes = base.to_be_bytes()[2..].to_vec();
    bytes.extend((body.bytes.len() as u32).to_be_bytes());
    bytes.extend((body.postings as u32).to_be_bytes());
    bytes.extend(body.bytes);
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use domain::{Document, Limits};

    use super::*;

    fn event(n: usize) -> Event {
        let json = format!(
            r#"{{"id":"e{n}","type":"t{}","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s",
                "metadata":{{"correlationId":"c{}","userId":"u{}"}}}}"#,
            n % 3,
            n / 2,
            n % 5
        );
        Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
    }

    #[test]
    fn what_an_append_adds_is_read_back() {
        let events: Vec<Event> = (0..40).map(event).collect();
        let mut bytes = record(7, &events.iter().take(25).collect::<Vec<_>>());
        bytes.extend(record(CHUNK + 1, &events.iter().skip(25).collect::<Vec<_>>()));
        let pending = Pending::read(&bytes).unwrap();
        assert_eq!(pending.base(), Some(7));
        assert_eq!(pending.records.iter().map(Record::last).collect::<Vec<_>>(), [32, CHUNK + 16]);
        assert_eq!(pending.records[1].end, bytes.len());
        let place = |n: usize| if n < 25 { 8 + n as u64 } else { CHUNK + 2 + (n - 25) as u64 };
        for term in events.iter().flat_map(Term::of) {
            let has = |n: &usize| Term::of(&events[*n]).contains(&term);
            let expected: Vec<u64> = (0..40).filter(has).map(place).collect();
            assert_eq!(pending.of_term(term).collect::<Vec<_>>(), expected);
        }
        for long in Long::of(&events[4]) {
            let has = |n: &usize| Long::of(&events[*n]).contains(&long);
            let expected: Vec<u64> = (25..40).filter(has).map(place).collect();
            assert_eq!(pending.of_long(1, &long.field()), expected);
        }
        assert_eq!(pending.names(0).len(), 5);
    }

    #[test]
    fn a_string_that_is_cut_off_is_refused() {
        let events = [event(1), event(2)];
        let bytes = record(7, &events.iter().collect::<Vec<_>>());
        for end in 1..bytes.len() {
            assert!(Pending::read(&bytes[..end]).is_err(), "{end}");
        }
    }
}
