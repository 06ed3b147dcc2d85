//! What a handle remembers of the terms it wrote, so that an append names few keys and asks little.
//!
//! It may be old, for others write and remove too: the function that appends checks it, changes nothing where it does not
//! hold, and says what is so. Most terms of an event are met for the first time, or have been met very often; for both
//! one command is enough where it is known beforehand.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::engine::keys::Digest;

/// Sequences that a term keeps in its bucket; with more it is given a list of its own.
const MOST_IN_BUCKET: usize = 10;
/// What the function says of a term that has a list.
const HAS_LIST: u8 = 255;
/// Terms of one generation. When it is full, the one before it is forgotten.
const GENERATION: usize = 32 * 1024;
/// After an append that knew too little, so many more take nothing for new.
const CAUTIOUS: u32 = 16;

/// What an append says of a term, and which of its keys it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Not there: the bucket.
    New,
    /// In the bucket, if it is there: the bucket.
    Short,
    /// It has a list: the list.
    Listed,
    /// Either, or about to be given a list: both.
    Either,
}

impl Kind {
    /// As the function spells it.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::New => b'n',
            Self::Short => b's',
            Self::Listed => b'l',
            Self::Either => b'b',
        }
    }
}

/// How many sequences terms have, by their digests.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    inner: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, u8>,
    old: HashMap<Digest, u8>,
    cautious: u32,
}

impl Hints {
    /// What to say of terms, each with how many sequences it is to be given.
    pub(crate) fn kinds(&self, terms: impl Iterator<Item = (Digest, usize)>) -> Vec<Kind> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = if inner.cautious > 0 { Kind::Either } else { Kind::New };
        inner.cautious = inner.cautious.saturating_sub(1);
        let kind = |(digest, more): (Digest, usize)| match inner.get(&digest) {
            Some(HAS_LIST) => Kind::Listed,
            Some(count) if usize::from(count) + more <= MOST_IN_BUCKET => Kind::Short,
            None if more <= MOST_IN_BUCKET => unknown,
            _ => Kind::Either,
        };
        terms.map(kind).collect()
    }

    /// Notes what the function said the terms have.
    pub(crate) fn learn(&self, terms: impl Iterator<Item = Digest>, has: &[u8], knew_all: bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !knew_all {
            inner.cautious = CAUTIOUS;
        }
        for (digest, count) in terms.zip(has) {
            inner.set(digest, *count);
        }
    }
}

impl Generations {
    fn get(&self, digest: &Digest) -> Option<u8> {
        self.young.get(digest).or_else(|| self.old.get(digest)).copied()
    }

    fn set(&mut self, digest: Digest, count: u8) {
        if count == 0 {
            self.young.remove(&digest);
            self.old.remove(&digest);
            return;
        }
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: u32) -> Digest {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Digest(bytes)
    }

    fn kind(hints: &Hints, number: u32, more: usize) -> Kind {
        hints.kinds([(of(number), more)].into_iter())[0]
    }

    #[test]
    fn a_term_is_new_then_short_then_has_a_list() {
        let hints = Hints::default();
        assert_eq!((kind(&hints, 1, 1), kind(&hints, 1, 11)), (Kind::New, Kind::Either));
        hints.learn([of(1)].into_iter(), &[8], true);
        assert_eq!((kind(&hints, 1, 2), kind(&hints, 1, 3)), (Kind::Short, Kind::Either));
        hints.learn([of(1)].into_iter(), &[HAS_LIST], true);
        assert_eq!(kind(&hints, 1, 200), Kind::Listed);
        hints.learn([of(1)].into_iter(), &[0], true);
        assert_eq!(kind(&hints, 1, 1), Kind::New);
    }

    #[test]
    fn after_a_surprise_nothing_is_taken_for_new_for_a_while() {
        let hints = Hints::default();
        hints.learn([of(1)].into_iter(), &[0], false);
        for _ in 0..CAUTIOUS {
            assert_eq!(kind(&hints, 2, 1), Kind::Either);
        }
        assert_eq!(kind(&hints, 2, 1), Kind::New);
    }

    #[test]
    fn no_more_is_remembered_than_two_generations() {
        let hints = Hints::default();
        for number in 0..5 * GENERATION as u32 {
            hints.learn([of(number)].into_iter(), &[1], true);
        }
        let inner = hints.inner.lock().unwrap();
        assert!(inner.young.len() + inner.old.len() <= 2 * GENERATION);
        assert_eq!(inner.get(&of(5 * GENERATION as u32 - 1)), Some(1));
    }
}
