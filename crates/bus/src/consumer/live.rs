//! The events that a segment has fetched from the log and not yet settled.
//!
//! Claimed entries are delivered in log order within their keys. A settlement moves the cursor over a prefix of done
//! entries. A forced settlement moves the cursor over all entries up to the last done entry. Entries before it that are
//! not done go into the ledger. So a slow event cannot delay the commit of other outcomes.

use std::collections::{BTreeMap, HashMap, VecDeque};

use domain::{StoredEvent, group::Key};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    Handed,
    Done,
}

#[derive(Debug)]
struct Entry {
    stored: StoredEvent,
    key: Key,
    stage: Stage,
}

/// Entries of a key that move to the ledger.
#[derive(Debug)]
pub(crate) struct Leaving {
    pub(crate) key: Key,
    /// The sequence of the first entry.
    pub(crate) position: u64,
    /// The sequence of the last entry.
    pub(crate) through: u64,
    /// Whether the first entry is with a handler.
    pub(crate) handed: bool,
    /// The events of the entries, in order.
    pub(crate) events: Vec<StoredEvent>,
}

/// The entries of a segment.
#[derive(Debug)]
pub(crate) struct Live {
    /// The cursor. All entries at or below it are done or in the ledger, and have left this queue.
    cursor: u64,
    /// The sequence up to which the log was read.
    read_to: u64,
    /// The committed claim. Entries up to here may be delivered.
    claim: u64,
    /// The claim that the next commit, or the commit in progress, makes.
    asked: u64,
    entries: BTreeMap<u64, Entry>,
    /// The number of entries up to `asked`.
    claimed: usize,
    /// The entries of each key that are not done, in order.
    keys: HashMap<Key, VecDeque<u64>>,
    done: usize,
}

impl Live {
    pub(crate) fn new(cursor: u64) -> Self {
        Self {
            cursor,
            read_to: cursor,
            claim: cursor,
            asked: cursor,
            entries: BTreeMap::new(),
            claimed: 0,
            keys: HashMap::new(),
            done: 0,
        }
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(crate) fn read_to(&self) -> u64 {
        self.read_to
    }

    /// Records that the log was read up to `seq` and that all events of this segment up to there were offered.
    pub(crate) fn was_read_to(&mut self, seq: u64) {
        self.read_to = self.read_to.max(seq);
    }

    /// Adds an event.
    pub(crate) fn offer(&mut self, key: Key, stored: StoredEvent) {
        let seq = stored.position.sequence;
        self.keys.entry(key.clone()).or_default().push_back(seq);
        let entry = Entry { stored, key, stage: Stage::Waiting };
        if self.entries.insert(seq, entry).is_none() && seq <= self.asked {
            self.claimed += 1;
        }
    }

    /// Returns the number of entries that are not claimed yet.
    pub(crate) fn unclaimed(&self) -> usize {
        self.entries.len() - self.claimed
    }

    /// Returns the number of unsettled entries that are claimed or that the commit in progress will claim.
    pub(crate) fn claimed(&self) -> usize {
        self.claimed
    }

    /// Returns the number of done entries that are not settled.
    pub(crate) fn done(&self) -> usize {
        self.done
    }

    /// Requests a claim on up to `most` more entries. Returns the number of entries in the request.
    pub(crate) fn ask(&mut self, most: usize) -> usize {
        let mut asked = 0;
        for seq in self.entries.range(self.asked + 1..).map(|(seq, _)| *seq).take(most) {
            self.asked = seq;
            asked += 1;
        }
        self.claimed += asked;
        asked
    }

    /// Returns the claim to commit.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.max(self.cursor)
    }

    /// Returns whether a claim waits for its commit.
    pub(crate) fn asks(&self) -> bool {
        self.asked > self.claim && self.asked > self.cursor
    }

    /// Records a committed claim. Returns the entries that may be delivered now.
    pub(crate) fn claimed_to(&mut self, claim: u64) -> Vec<(Key, StoredEvent)> {
        let from = self.claim;
        self.claim = self.claim.max(claim);
        let fresh: Vec<u64> = self
            .entries
            .range(from + 1..)
            .take_while(|(seq, _)| **seq <= self.claim)
            .filter(|(seq, entry)| {
                entry.stage == Stage::Waiting
                    && self.keys.get(&entry.key).and_then(VecDeque::front) == Some(seq)
            })
            .map(|(seq, _)| *seq)
            .collect();
        fresh.into_iter().filter_map(|seq| self.hand(seq)).collect()
    }

    fn hand(&mut self, seq: u64) -> Option<(Key, StoredEvent)> {
        let entry = self.entries.get_mut(&seq).filter(|entry| entry.stage == Stage::Waiting)?;
        entry.stage = Stage::Handed;
        Some((entry.key.clone(), entry.stored.clone()))
    }

    /// Returns whether an entry is in this queue and with a handler.
    pub(crate) fn is_handed(&self, seq: u64) -> bool {
        self.entries.get(&seq).is_some_and(|entry| entry.stage == Stage::Handed)
    }

    /// Marks an entry as done. Returns the next entry of its key, if it may be delivered.
    pub(crate) fn finish(&mut self, seq: u64) -> Option<(Key, StoredEvent)> {
        let entry = self.entries.get_mut(&seq)?;
        entry.stage = Stage::Done;
        self.done += 1;
        let queue = self.keys.get_mut(&entry.key)?;
        queue.pop_front();
        match queue.front().copied() {
            None => {
                self.keys.remove(&entry.key);
                None
            }
            Some(next) if next <= self.claim => self.hand(next),
            Some(_) => None,
        }
    }

    /// Removes the entries of a key and returns them. Its first entry failed or runs for long.
    pub(crate) fn take_key(&mut self, key: &Key) -> Option<Leaving> {
        let queue = self.keys.remove(key)?;
        let (position, through) = (*queue.front()?, *queue.back()?);
        let handed = self.is_handed(position);
        let events = queue.iter().filter_map(|seq| Some(self.remove(*seq)?.stored)).collect();
        Some(Leaving { key: key.clone(), position, through, handed, events })
    }

    /// Removes and returns the keys whose first entry is with a handler while other entries wait behind it.
    pub(crate) fn take_slow(&mut self) -> Vec<Leaving> {
        let is_slow =
            |queue: &VecDeque<u64>| queue.len() > 1 && queue.front().is_some_and(|seq| self.is_handed(*seq));
        let slow: Vec<Key> =
            self.keys.iter().filter(|(_, queue)| is_slow(queue)).map(|(key, _)| key.clone()).collect();
        slow.iter().filter_map(|key| self.take_key(key)).collect()
    }

    /// Moves the cursor over the done prefix. With `by_force`, moves it over the last done entry, and returns the open
    /// entries before it.
    pub(crate) fn settle(&mut self, by_force: bool) -> Vec<Leaving> {
        self.drop_done_prefix();
        let mut leaving = Vec::new();
        if by_force && self.done > 0 {
            let last_done = self.entries.iter().rev().find(|(_, entry)| entry.stage == Stage::Done);
            let top = last_done.map_or(0, |(seq, _)| *seq);
            let open = self.entries.range(..top).filter(|(_, entry)| entry.stage != Stage::Done);
            let mut keys: Vec<Key> = open.map(|(_, entry)| entry.key.clone()).collect();
            keys.dedup();
            leaving = keys.iter().filter_map(|key| self.take_key(key)).collect();
            self.drop_done_prefix();
        }
        self.cursor = self.entries.first_key_value().map_or(self.read_to, |(seq, _)| seq - 1);
        leaving
    }

    fn drop_done_prefix(&mut self) {
        while let Some((seq, _)) =
            self.entries.first_key_value().filter(|(_, first)| first.stage == Stage::Done)
        {
            self.remove(*seq);
            self.done -= 1;
        }
    }

    fn remove(&mut self, seq: u64) -> Option<Entry> {
        let removed = self.entries.remove(&seq);
        if removed.is_some() && seq <= self.asked {
            self.claimed -= 1;
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::stored;

    fn key(name: &str) -> Key {
        Key::new("k", name)
    }

    fn seqs(handed: &[(Key, StoredEvent)]) -> Vec<u64> {
        handed.iter().map(|(_, stored)| stored.position.sequence).collect()
    }

    fn live(keys: &[&str]) -> Live {
        let mut live = Live::new(0);
        for (at, name) in keys.iter().enumerate() {
            live.offer(key(name), stored(at as u64 + 1));
        }
        live.was_read_to(keys.len() as u64 + 5);
        live
    }

    #[test]
    fn nothing_is_handed_over_before_its_claim_is_committed() {
        let mut live = live(&["a", "b", "c"]);
        assert_eq!(live.ask(2), 2);
        assert!(live.asks());
        assert_eq!(seqs(&live.claimed_to(live.asked())), [1, 2]);
        assert_eq!((live.claimed(), live.unclaimed()), (2, 1));
        assert_eq!(seqs(&live.claimed_to(3)), [3]);
    }

    #[test]
    fn one_of_a_key_at_a_time_in_order() {
        let mut live = live(&["a", "a", "b", "a"]);
        live.ask(10);
        assert_eq!(seqs(&live.claimed_to(live.asked())), [1, 3]);
        assert_eq!(live.finish(1).map(|(_, stored)| stored.position.sequence), Some(2));
        assert!(live.finish(3).is_none());
        assert_eq!(live.finish(2).map(|(_, stored)| stored.position.sequence), Some(4));
    }

    #[test]
    fn the_cursor_passes_what_is_done_and_by_force_leaves_the_rest_to_the_ledger() {
        let mut live = live(&["a", "b", "a", "c", "b"]);
        live.ask(10);
        live.claimed_to(live.asked());
        live.finish(4);
        assert!(live.settle(false).is_empty());
        assert_eq!(live.cursor(), 0);
        let leaving = live.settle(true);
        let named: Vec<_> = leaving
            .iter()
            .map(|leaving| (&*leaving.key.id, leaving.position, leaving.through, leaving.handed))
            .collect();
        assert_eq!((named, live.cursor()), (vec![("a", 1, 3, true), ("b", 2, 5, true)], 10));
        let held: Vec<Vec<u64>> = leaving
            .iter()
            .map(|leaving| leaving.events.iter().map(|stored| stored.position.sequence).collect())
            .collect();
        assert_eq!(held, [[1, 3], [2, 5]], "they need not be fetched again");
        assert_eq!((live.done(), live.claimed()), (0, 0));
    }
}
