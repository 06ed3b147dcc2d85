//! What was read of lanes, as it stands there: a commit that says that a batch is done needs the batch once more, and need not
//! read it again. The function compares it with what is there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Batches that are remembered; beyond that all are forgotten, and read again where they are needed.
const MOST: usize = 4_096;

type Lane = HashMap<u64, Arc<[u8]>>;

#[derive(Debug, Default)]
struct Lanes {
    batches: usize,
    lanes: HashMap<(String, u16), Lane>,
}

/// Texts of batches, by group and segment, and by their places.
#[derive(Debug, Default)]
pub(crate) struct LaneTexts {
    lanes: Mutex<Lanes>,
}

impl LaneTexts {
    /// Notes a batch that was read.
    pub(crate) fn note(&self, group: &str, segment: u16, seq: u64, text: &[u8]) {
        let mut lanes = self.lock();
        if lanes.batches >= MOST {
            *lanes = Lanes::default();
        }
        let lane = lanes.lanes.entry((group.to_owned(), segment)).or_default();
        let is_new = lane.insert(seq, text.into()).is_none();
        lanes.batches += usize::from(is_new);
    }

    /// What is remembered of a batch.
    pub(crate) fn of(&self, group: &str, segment: u16, seq: u64) -> Option<Arc<[u8]>> {
        self.lock().lanes.get(&(group.to_owned(), segment))?.get(&seq).cloned()
    }

    /// Forgets a batch that is done.
    pub(crate) fn forget(&self, group: &str, segment: u16, seq: u64) {
        let mut lanes = self.lock();
        let gone = lanes.lanes.get_mut(&(group.to_owned(), segment)).and_then(|lane| lane.remove(&seq));
        lanes.batches -= usize::from(gone.is_some());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_goes_when_it_is_done() {
        let texts = LaneTexts::default();
        let most = MOST as u64;
        (0..most).for_each(|seq| texts.note("g", 1, seq, b"a"));
        texts.note("g", 1, 0, b"b");
        assert_eq!(texts.of("g", 1, 0).as_deref(), Some(&b"b"[..]));
        assert_eq!(texts.of("g", 1, 1), None, "there were too many");
        texts.note("g", 1, 5, b"a");
        texts.note("g", 1, 5, b"b");
        texts.note("g", 2, 5, b"c");
        assert_eq!(texts.of("g", 1, 5).as_deref(), Some(&b"b"[..]), "the newest");
        texts.forget("g", 1, 5);
        texts.forget("g", 1, 5);
        assert_eq!(texts.of("g", 1, 5), None);
        assert_eq!(texts.of("g", 2, 5).as_deref(), Some(&b"c"[..]));
    }
}
