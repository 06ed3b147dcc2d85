//! The ledger in memory: keys that are tracked apart from the cursor of their segment.
//!
//! The event of a row is delivered when it is due, fetched, and claimed by a commit. While a row exists, later events
//! of its key only raise the row's `through`. They are fetched by the key when their turn comes.
//!
//! An event that was in flight at two crashes of consumers needs an *isolated attempt*. The attempt is committed first,
//! and no other handler of the process runs beside it. So only an event that really crashes processes uses up its
//! attempts. After one crash, events are redelivered as usual, since most crashes have other causes.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
};

use domain::{
    DeliveryOrigin, StoredEvent,
    dead_letter::{Failure, MAX_EARLIER_FAILURES, note_failure},
    group::{BlockedKey, Key, MAX_BLOCKED_KEYS, MAX_LEDGER_BYTES},
};
use jiff::Timestamp;

use super::{
    live::Leaving,
    rules::{Rules, ended_its_consumer},
    work::{DeliverySource, Effects, FetchRequest, StepContext, Work},
};

/// The number of events of a key that are claimed together.
const CLAIM_AHEAD: usize = 8;
/// The number of consumer crashes after which a claimed delivery runs alone.
pub(crate) const ALONE_AFTER: u32 = 2;
/// The highest number of events of one key in memory.
pub(crate) const FETCH_AHEAD: usize = 64;
/// The number of blocked keys up to which new events of these keys stay in memory. Above it, they are fetched again
/// when their turn comes.
const FEW_KEYS: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The row waits until it is due.
    Resting,
    /// The key is parked behind its dead letter.
    Parked,
    /// The events of the row are being fetched.
    Fetching,
    /// The claim of the row waits for its commit.
    Claiming,
    /// The row waits for its isolated attempt.
    AwaitsIsolation,
    /// The isolated attempt of the row waits for its commit.
    IsolatedAttempt,
    /// The first event of the row is with a handler.
    Handed,
    /// The row has no events left, but the cursor has not passed it.
    Empty,
}

#[derive(Debug)]
struct LedgerRow {
    kept: BlockedKey,
    stage: Stage,
    /// Fetched events from `kept.position` on.
    events: VecDeque<StoredEvent>,
    /// The sequence up to which every event of the key is in `events` or done.
    fetched_to: u64,
    /// The first event of the key that was claimed when a consumer crashed.
    isolate_from: u64,
    /// The last event of the key that was claimed when a consumer crashed.
    isolate_to: u64,
    /// The number of consumer crashes during which these events were claimed.
    ends: u32,
    /// The committed claim.
    claim: u64,
    /// Whether the row changed since it was last collected for a commit.
    dirty: bool,
    /// Whether the row's key is in the list of dirty keys.
    listed: bool,
}

impl LedgerRow {
    fn ends_of(&self, seq: u64) -> u32 {
        if (self.isolate_from..=self.isolate_to).contains(&seq) { self.ends } else { 0 }
    }

    fn needs_isolation(&self, seq: u64) -> bool {
        self.ends_of(seq) >= ALONE_AFTER
    }

    /// Appends the next events of the key. No event may be missing between them.
    fn take_in(&mut self, events: impl IntoIterator<Item = StoredEvent>) {
        self.events.extend(events);
        if let Some(last) = self.events.back() {
            self.fetched_to = self.fetched_to.max(last.position.sequence);
        }
    }

    /// Returns whether to keep the key's newest event in memory: all events before it are here, and the key is due.
    fn takes_next(&self, now: Timestamp) -> bool {
        self.fetched_to >= self.kept.through
            && self.events.len() < FETCH_AHEAD
            && self.stage != Stage::Fetching
            && self.kept.due.is_some_and(|due| due <= now)
    }

    /// Clears the failures of the attempts. Returns the number of freed bytes.
    fn forget_failures(&mut self) -> usize {
        let before = self.kept.size_bytes();
        self.kept.error.clear();
        self.kept.failures.clear();
        before - self.kept.size_bytes()
    }

    /// Records that an event of the key was claimed when a consumer crashed.
    fn was_claimed(&mut self, seq: u64) {
        if self.isolate_to < self.isolate_from {
            self.isolate_from = seq;
            self.ends = 1;
        }
        self.isolate_to = self.isolate_to.max(seq);
    }
}

/// The outcome of a row's event.
#[derive(Debug)]
pub(crate) enum RowOutcome {
    /// The key continues with its next event.
    Next,
    /// The event must be retried at `due`.
    Again { due: Timestamp, failure: Failure },
    /// The group gives up on the event.
    GaveUp,
}

/// The ledger of a segment.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    rows: HashMap<Key, LedgerRow>,
    removed: HashSet<Key>,
    due: BinaryHeap<Reverse<(Timestamp, Key)>>,
    isolation_queue: VecDeque<Key>,
    /// Keys of dirty rows.
    dirty: Vec<Key>,
    /// Keys of rows without events left.
    empty: HashSet<Key>,
    bytes: usize,
}

impl Ledger {
    /// Returns the ledger from its stored rows.
    pub(crate) fn load(rows: Vec<BlockedKey>, rules: &Rules, now: Timestamp) -> (Self, Effects) {
        let (mut ledger, mut at) = (Self::default(), StepContext::new(rules, now));
        for kept in rows {
            let (isolate_to, ends) =
                if kept.is_claimed() { (kept.claimed_to, kept.ends + 1) } else { (0, 0) };
            let kept = BlockedKey { ends: ends.max(kept.ends), ..kept };
            let key = kept.key.clone();
            ledger.put(LedgerRow {
                stage: if kept.due.is_some() { Stage::Resting } else { Stage::Parked },
                events: VecDeque::new(),
                fetched_to: kept.position.saturating_sub(1),
                isolate_from: kept.position,
                isolate_to,
                ends,
                claim: kept.position.saturating_sub(1),
                dirty: false,
                listed: false,
                kept,
            });
            ledger.step(&key, &mut at);
            ledger.note(&key);
        }
        (ledger, at.effects)
    }

    fn put(&mut self, row: LedgerRow) {
        self.bytes += row.kept.size_bytes();
        self.removed.remove(&row.kept.key);
        if let Some(old) = self.rows.insert(row.kept.key.clone(), row) {
            self.bytes -= old.kept.size_bytes();
        }
    }

    /// Puts the key of a changed row into the lists of dirty and empty rows.
    fn note(&mut self, key: &Key) {
        let Some(row) = self.rows.get_mut(key) else { return };
        if row.dirty && !row.listed {
            row.listed = true;
            self.dirty.push(key.clone());
        }
        if row.stage == Stage::Empty {
            self.empty.insert(key.clone());
        } else if !self.empty.is_empty() {
            self.empty.remove(key);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Returns whether the segment must stop reading.
    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= MAX_BLOCKED_KEYS || self.bytes >= MAX_LEDGER_BYTES
    }

    /// Returns whether rows without events wait for the cursor to pass them.
    pub(crate) fn has_empty(&self) -> bool {
        !self.empty.is_empty()
    }

    /// Returns whether the ledger has uncommitted changes.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.removed.is_empty() || !self.dirty.is_empty()
    }

    /// Records an event of a key with a row. Returns false if the key has no row.
    pub(crate) fn extend(&mut self, key: &Key, stored: &StoredEvent, at: &mut StepContext<'_>) -> bool {
        let are_few = self.rows.len() <= FEW_KEYS;
        let Some(row) = self.rows.get_mut(key) else { return false };
        let seq = stored.position.sequence;
        if seq >= row.kept.position && seq > row.kept.through {
            if are_few && row.takes_next(at.now) {
                row.take_in([stored.clone()]);
            }
            row.kept.through = seq;
            row.dirty = true;
            if row.stage == Stage::Empty {
                row.stage = Stage::Resting;
                self.step(key, at);
            }
            self.note(key);
        }
        true
    }

    /// Accepts an event that a crashed consumer may have delivered.
    pub(crate) fn take_claimed(&mut self, key: &Key, stored: StoredEvent, at: &mut StepContext<'_>) {
        let seq = stored.position.sequence;
        if self.extend(key, &stored, at) {
            if let Some(row) = self.rows.get_mut(key) {
                row.was_claimed(seq);
            }
            self.note(key);
            return;
        }
        let mut row = new_row(key, seq, seq, at.now);
        row.was_claimed(seq);
        row.kept.ends = 1;
        row.take_in([stored]);
        self.put(row);
        self.step(key, at);
        self.note(key);
    }

    /// Adds a key whose entries left the live queue. Keeps up to [`FETCH_AHEAD`] of its events in memory.
    pub(crate) fn admit(&mut self, leaving: Leaving, at: &mut StepContext<'_>) {
        let Leaving { key, position, through, handed, events } = leaving;
        let mut row = new_row(&key, position, through, at.now);
        row.take_in(events.into_iter().take(FETCH_AHEAD));
        if handed {
            row.stage = Stage::Handed;
            row.kept.claimed_to = position;
            row.claim = position;
        }
        self.put(row);
        if !handed {
            self.step(&key, at);
        }
        self.note(&key);
    }

    /// Accepts the fetched events of a key. The key has no other events up to `complete_to`.
    pub(crate) fn fetched(
        &mut self,
        key: &Key,
        events: Vec<StoredEvent>,
        complete_to: u64,
        at: &mut StepContext<'_>,
    ) {
        let Some(row) = self.rows.get_mut(key).filter(|row| row.stage == Stage::Fetching) else { return };
        let fetched_to = row.fetched_to;
        row.events.extend(events.into_iter().filter(|stored| stored.position.sequence > fetched_to));
        row.fetched_to = row.fetched_to.max(complete_to);
        row.stage = Stage::Resting;
        self.step(key, at);
        self.note(key);
    }

    /// Schedules a failed fetch again for the time `again`.
    pub(crate) fn fetch_failed(&mut self, key: &Key, again: Timestamp) {
        if let Some(row) = self.rows.get_mut(key).filter(|row| row.stage == Stage::Fetching) {
            row.stage = Stage::Resting;
            self.due.push(Reverse((again, key.clone())));
        }
    }

    /// Returns the time at which the next row is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Continues with the rows whose pause is over.
    pub(crate) fn wake(&mut self, at: &mut StepContext<'_>) {
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= at.now) {
            let Some(Reverse((_, key))) = self.due.pop() else { return };
            if self.rows.get(&key).is_some_and(|row| row.stage == Stage::Resting) {
                self.step(&key, at);
                self.note(&key);
            }
        }
    }

    /// Moves a resting row to its next stage that depends on a commit, a fetch or a handler.
    fn step(&mut self, key: &Key, at: &mut StepContext<'_>) {
        let Some(row) = self.rows.get_mut(key).filter(|row| row.stage == Stage::Resting) else { return };
        let Some(due) = row.kept.due else {
            row.stage = Stage::Parked;
            return;
        };
        if due > at.now {
            // A pause is long compared with a read, so the fetched events are released meanwhile.
            row.events.clear();
            row.fetched_to = row.kept.position.saturating_sub(1);
            self.due.push(Reverse((due, key.clone())));
            return;
        }
        let Some(first) = row.events.front().map(|stored| stored.position.sequence) else {
            let from = row.kept.position.max(row.fetched_to + 1);
            if from > row.kept.through {
                row.kept.position = from;
                row.stage = Stage::Empty;
                row.dirty = true;
            } else {
                row.stage = Stage::Fetching;
                at.effects.fetch_requests.push(FetchRequest::OfKey {
                    key: key.clone(),
                    from,
                    through: row.kept.through,
                });
            }
            return;
        };
        if row.kept.position != first {
            // The events between were removed, or the group does not take their types.
            row.kept.position = first;
            row.kept.attempts = 0;
            row.kept.ends = row.ends_of(first);
            self.bytes -= row.forget_failures();
            row.dirty = true;
        }
        if row.needs_isolation(first) {
            row.stage = Stage::AwaitsIsolation;
            self.isolation_queue.push_back(key.clone());
        } else if first <= row.claim {
            Self::hand(row, at);
        } else {
            let ahead = row.events.get(CLAIM_AHEAD.min(row.events.len()) - 1);
            row.kept.claimed_to = ahead.map_or(first, |stored| stored.position.sequence);
            row.stage = Stage::Claiming;
            row.dirty = true;
        }
    }

    fn hand(row: &mut LedgerRow, at: &mut StepContext<'_>) {
        let Some(stored) = row.events.front() else { return };
        row.stage = Stage::Handed;
        // The attempt count of the row already includes an isolated attempt.
        let attempt = if row.needs_isolation(stored.position.sequence) {
            row.kept.attempts
        } else {
            row.kept.attempts + 1
        };
        at.effects.work.push(Work {
            source: DeliverySource::Live { seq: stored.position.sequence, key: row.kept.key.clone() },
            origin: DeliveryOrigin::Live,
            attempt,
            is_last_attempt: attempt >= at.rules.max_attempts(&stored.event),
            waiting_since: Some(row.kept.since),
            stored: stored.clone(),
        });
    }

    /// Returns whether deliveries wait for their isolated attempt.
    pub(crate) fn awaits_isolation(&self) -> bool {
        !self.isolation_queue.is_empty()
    }

    /// Starts the next isolated attempt. The attempt is committed first, and then its event is delivered alone. An
    /// event without attempts left is returned as [`IsolatedAttempt::Spent`] instead, with its failure.
    pub(crate) fn start_isolated_attempt(
        &mut self,
        rules: &Rules,
        now: Timestamp,
    ) -> Option<IsolatedAttempt> {
        while let Some(key) = self.isolation_queue.pop_front() {
            let Some(row) = self.rows.get_mut(&key).filter(|row| row.stage == Stage::AwaitsIsolation) else {
                continue;
            };
            let Some(stored) = row.events.front().cloned() else { continue };
            if row.kept.attempts >= rules.max_attempts(&stored.event) {
                let failure = ended_its_consumer(row.kept.attempts, now);
                return Some(IsolatedAttempt::Spent { key, stored, attempts: row.kept.attempts, failure });
            }
            row.kept.attempts += 1;
            row.kept.claimed_to = row.isolate_to;
            row.stage = Stage::IsolatedAttempt;
            row.dirty = true;
            self.note(&key);
            return Some(IsolatedAttempt::ToCommit);
        }
        None
    }

    /// Returns the number of attempts of a row's event that is with a handler, this attempt included. Otherwise `None`.
    pub(crate) fn handed(&self, key: &Key, seq: u64) -> Option<u32> {
        let row = self.rows.get(key).filter(|row| row.stage == Stage::Handed && row.kept.position == seq)?;
        Some(if row.needs_isolation(seq) { row.kept.attempts } else { row.kept.attempts + 1 })
    }

    /// Returns the failures of the attempts of a row's event.
    pub(crate) fn failures(&self, key: &Key) -> Vec<Failure> {
        self.rows.get(key).map_or_else(Vec::new, |row| row.kept.failures.clone())
    }

    /// Returns whether an event of a row needs an isolated attempt.
    pub(crate) fn needs_isolation(&self, key: &Key, seq: u64) -> bool {
        self.rows.get(key).is_some_and(|row| row.needs_isolation(seq))
    }

    /// Records the outcome of a row's event that a handler answered or that has no attempts left.
    pub(crate) fn answered(&mut self, key: &Key, seq: u64, outcome: RowOutcome, at: &mut StepContext<'_>) {
        let Some(row) = self.rows.get_mut(key) else { return };
        let before = row.kept.size_bytes();
        row.dirty = true;
        row.stage = Stage::Resting;
        match outcome {
            RowOutcome::Again { due, failure } => {
                if !row.needs_isolation(seq) {
                    row.kept.attempts += 1;
                }
                // The handler answered, so the event did not end the process.
                row.isolate_to = row.isolate_to.min(seq - 1);
                row.kept.ends = 0;
                row.kept.due = Some(due);
                row.kept.error = failure.errors.join(": ");
                note_failure(&mut row.kept.failures, failure.shortened(), MAX_EARLIER_FAILURES);
                // The event is no longer in flight. If the process ends now, the event is not the cause.
                row.kept.claimed_to = seq - 1;
                row.claim = seq - 1;
            }
            RowOutcome::GaveUp if at.rules.park => {
                row.kept.due = None;
                row.kept.claimed_to = seq - 1;
                row.claim = seq - 1;
                row.isolate_to = row.isolate_to.min(seq - 1);
                row.events.clear();
                row.fetched_to = seq - 1;
            }
            RowOutcome::Next | RowOutcome::GaveUp => go_on(row, seq, at.now),
        }
        self.bytes = self.bytes + row.kept.size_bytes() - before;
        self.step(key, at);
        self.note(key);
    }

    /// Releases the key that is parked at a position, because its dead letter is closed. The event itself may be
    /// removed.
    pub(crate) fn release_at(&mut self, seq: u64, at: &mut StepContext<'_>) {
        let parked = |row: &&LedgerRow| row.stage == Stage::Parked && row.kept.position == seq;
        if let Some(key) = self.rows.values().find(parked).map(|row| row.kept.key.clone()) {
            self.release(&key, seq, at);
        }
    }

    /// Releases a key whose dead letter is closed. The key continues with its next event.
    pub(crate) fn release(&mut self, key: &Key, seq: u64, at: &mut StepContext<'_>) {
        let parked = |row: &&mut LedgerRow| row.stage == Stage::Parked && row.kept.position == seq;
        let Some(row) = self.rows.get_mut(key).filter(parked) else { return };
        self.bytes -= row.forget_failures();
        go_on(row, seq, at.now);
        row.stage = Stage::Resting;
        row.dirty = true;
        self.step(key, at);
        self.note(key);
    }

    /// Returns the rows to put and the keys to remove in a commit with this cursor.
    pub(crate) fn collect(&mut self, cursor: u64) -> (Vec<BlockedKey>, Vec<Key>) {
        if !self.empty.is_empty() {
            self.remove_passed(cursor);
        }
        let mut put = Vec::with_capacity(self.dirty.len());
        for key in self.dirty.drain(..) {
            let Some(row) = self.rows.get_mut(&key) else { continue };
            row.listed = false;
            if std::mem::take(&mut row.dirty) {
                put.push(row.kept.clone());
            }
        }
        (put, self.removed.drain().collect())
    }

    fn remove_passed(&mut self, cursor: u64) {
        let is_passed = |key: &&Key| self.rows.get(*key).is_none_or(|row| row.kept.through <= cursor);
        let passed: Vec<Key> = self.empty.iter().filter(is_passed).cloned().collect();
        for key in passed {
            self.empty.remove(&key);
            if let Some(row) = self.rows.remove(&key) {
                self.bytes -= row.kept.size_bytes();
                self.removed.insert(key);
            }
        }
    }

    /// Applies a stored commit with these rows. Deliveries that waited for it may start.
    pub(crate) fn committed(&mut self, put: &[BlockedKey], at: &mut StepContext<'_>) {
        for kept in put {
            let Some(row) = self.rows.get_mut(&kept.key).filter(|row| row.kept.position == kept.position)
            else {
                continue;
            };
            match row.stage {
                Stage::Claiming if kept.claimed_to >= kept.position => {
                    row.claim = kept.claimed_to;
                    Self::hand(row, at);
                }
                Stage::IsolatedAttempt if kept.attempts == row.kept.attempts => Self::hand(row, at),
                _ => {}
            }
        }
    }

    /// Withdraws the claims on events that no handler has. A segment that is released in order needs this.
    pub(crate) fn unclaim(&mut self) {
        for row in self.rows.values_mut() {
            let before = row.kept.position.saturating_sub(1);
            let least =
                if row.needs_isolation(row.kept.position) { row.isolate_to.max(before) } else { before };
            if row.kept.claimed_to > least {
                row.kept.claimed_to = least;
                row.dirty = true;
            }
            let is_isolated = match row.stage {
                Stage::IsolatedAttempt => true,
                Stage::Handed => row.needs_isolation(row.kept.position),
                _ => false,
            };
            if is_isolated {
                // The event was not delivered, or its handler answered, so it did not end the process.
                row.kept.attempts = row.kept.attempts.saturating_sub(1);
                row.dirty = true;
            }
            if row.dirty && !row.listed {
                row.listed = true;
                self.dirty.push(row.kept.key.clone());
            }
        }
    }
}

/// Moves a row to the event after `seq`.
fn go_on(row: &mut LedgerRow, seq: u64, now: Timestamp) {
    if row.events.front().is_some_and(|stored| stored.position.sequence == seq) {
        row.events.pop_front();
    }
    row.fetched_to = row.fetched_to.max(seq);
    row.kept.position = row.events.front().map_or(seq + 1, |stored| stored.position.sequence);
    row.kept.attempts = 0;
    row.kept.ends = row.ends_of(row.kept.position);
    row.forget_failures();
    row.kept.due = Some(now);
}

fn new_row(key: &Key, position: u64, through: u64, now: Timestamp) -> LedgerRow {
    let before = position - 1;
    LedgerRow {
        kept: BlockedKey {
            key: key.clone(),
            position,
            through,
            claimed_to: before,
            attempts: 0,
            ends: 0,
            due: Some(now),
            error: String::new(),
            failures: Vec::new(),
            since: now,
        },
        stage: Stage::Resting,
        events: VecDeque::new(),
        fetched_to: before,
        isolate_from: 1,
        isolate_to: 0,
        ends: 0,
        claim: before,
        dirty: true,
        listed: false,
    }
}

/// The result of the start of an isolated attempt.
#[derive(Debug)]
pub(crate) enum IsolatedAttempt {
    /// The attempt is in the ledger and waits for its commit.
    ToCommit,
    /// The event has no attempts left.
    Spent { key: Key, stored: StoredEvent, attempts: u32, failure: Failure },
}
