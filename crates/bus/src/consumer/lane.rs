//! A segment's replay lane in memory: batches of references, handed over in the order of the lane within their keys.
//!
//! References are claimed and committed batch by batch. What was claimed and not done when consumers ended is suspect, as in
//! the ledger.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, HashSet, VecDeque},
};

use domain::{
    DeliveryOrigin, StoredEvent,
    dead_letter::{Failure, MAX_EARLIER_FAILURES, note_failure},
    group::{Key, LaneBatch, LaneFailure, LaneOrigin, LaneProgress, LaneRetry, REMOVED},
};
use jiff::Timestamp;

use super::{
    ledger::ALONE_AFTER,
    rules::{Rules, ended_its_consumer},
    work::{Moment, Want, Way, Wishes, Work},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its event is being fetched.
    Fetching,
    /// Behind another of its key, not claimed, or not due.
    Waiting,
    /// Its turn as a suspect has not come.
    Suspect,
    /// The attempt of a suspect waits to be committed.
    Accused,
    /// With a handler.
    Handed,
    Done,
}

#[derive(Debug)]
struct Reference {
    stage: Stage,
    key: Option<Key>,
    event: Option<StoredEvent>,
}

#[derive(Debug)]
struct Batch {
    kept: LaneBatch,
    references: Vec<Reference>,
    left: usize,
    /// The claim that is committed.
    claim: u32,
    dirty: bool,
}

impl Batch {
    /// What was claimed and not done when the last consumer ended has seen one end more. That is committed before any of
    /// it is handed over.
    fn note_ends(&mut self) {
        for index in 0..self.kept.progress.claimed_to {
            let is_open = self.references.get(index as usize).is_some_and(|r| r.stage != Stage::Done);
            if is_open {
                // Whether it is due was settled before; an event that only ended with its consumer is due at once.
                retry_of(&mut self.kept.progress, index, Timestamp::UNIX_EPOCH).ends += 1;
                self.dirty = true;
            }
        }
    }

    fn retry(&self, index: u32) -> Option<&LaneRetry> {
        self.kept.progress.retries.iter().find(|retry| retry.index == index)
    }

    fn is_suspect(&self, index: u32) -> bool {
        self.retry(index).is_some_and(|retry| retry.ends >= ALONE_AFTER)
    }
}

type Place = (u64, u32);

/// How far batches are, by their place in the lane.
pub(crate) type Progress = Vec<(u64, LaneProgress)>;

/// What became of an answer about a reference.
#[derive(Debug)]
pub(crate) enum LaneOutcome {
    Handled,
    Skipped,
    Again { due: Timestamp, failure: Failure },
    GaveUp { error: String },
}

/// The lane of a segment.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// The place of the last batch that was taken in.
    after: u64,
    batches: BTreeMap<u64, Batch>,
    /// Of each key the references that are not done, in order.
    keys: HashMap<Key, VecDeque<Place>>,
    due: BinaryHeap<Reverse<(Timestamp, Place)>>,
    /// Keys whose first reference waits to be tried again.
    resting: HashSet<Key>,
    suspects: VecDeque<Place>,
    /// Batches whose events are to be fetched, one after the other: so that keys fill in order.
    to_fetch: VecDeque<u64>,
    fetching: bool,
    references: usize,
}

impl Lane {
    /// The place after which there may be further batches.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    /// References that are not done.
    pub(crate) fn references(&self) -> usize {
        self.references
    }

    /// References that are not done and do not wait behind one of their key that is to be tried again.
    pub(crate) fn free_references(&self) -> usize {
        let waits = |Reverse((_, place)): &Reverse<(Timestamp, Place)>| {
            let reference = self.batches.get(&place.0)?.references.get(place.1 as usize)?;
            let queue = self.keys.get(reference.key.as_ref()?)?;
            (reference.stage == Stage::Waiting && queue.front() == Some(place)).then_some(queue.len())
        };
        self.references - self.due.iter().filter_map(waits).sum::<usize>().min(self.references)
    }

    /// A batch whose references no handler is to see: it is done.
    pub(crate) fn close_batch(&mut self, seq: u64, wishes: &mut Wishes) {
        self.to_fetch.retain(|other| *other != seq);
        self.fetching = false;
        if let Some(batch) = self.batches.get_mut(&seq) {
            for (index, reference) in batch.references.iter_mut().enumerate() {
                close(&mut batch.kept.progress, reference, index as u32);
            }
            self.references -= std::mem::take(&mut batch.left);
            batch.dirty = true;
        }
        self.fetch_next(wishes);
    }

    /// Takes a batch in.
    pub(crate) fn take_in(&mut self, batch: LaneBatch, wishes: &mut Wishes) {
        if batch.seq <= self.after {
            return;
        }
        self.after = batch.seq;
        let reference = |index| {
            let stage = if batch.progress.done.contains(index) { Stage::Done } else { Stage::Fetching };
            Reference { stage, key: None, event: None }
        };
        let references: Vec<Reference> = (0..batch.positions.len() as u32).map(reference).collect();
        let left = references.iter().filter(|reference| reference.stage != Stage::Done).count();
        self.references += left;
        self.to_fetch.push_back(batch.seq);
        let mut batch = Batch { claim: 0, references, left, dirty: left == 0, kept: batch };
        batch.note_ends();
        self.batches.insert(batch.kept.seq, batch);
        self.fetch_next(wishes);
    }

    fn fetch_next(&mut self, wishes: &mut Wishes) {
        if let Some(batch) = self.to_fetch.front().filter(|_| !self.fetching) {
            self.fetching = true;
            wishes.wants.push(Want::OfBatch { batch: *batch });
        }
    }

    /// Where a batch's references that are not done are, and where it comes from.
    pub(crate) fn to_fetch(&self, batch: u64) -> Option<(Vec<u64>, LaneOrigin)> {
        let batch = self.batches.get(&batch)?;
        let open =
            |(at, _): &(usize, &u64)| batch.references.get(*at).is_some_and(|r| r.stage != Stage::Done);
        let positions = batch.kept.positions.iter().enumerate().filter(open).map(|(_, position)| *position);
        Some((positions.collect(), batch.kept.origin.clone()))
    }

    /// A batch is not in the lane any more: its references go, and those behind them take their turn.
    pub(crate) fn drop_batch(&mut self, seq: u64, at: &mut Moment<'_>) {
        let Some(batch) = self.batches.remove(&seq) else { return };
        self.references -= batch.left;
        let mut heads = Vec::new();
        for key in batch.references.into_iter().filter_map(|reference| reference.key) {
            let Some(queue) = self.keys.get_mut(&key) else { continue };
            let head = queue.front().copied();
            queue.retain(|(other, _)| *other != seq);
            match queue.front().copied() {
                None => drop(self.keys.remove(&key)),
                next if next != head => heads.extend(next),
                _ => {}
            }
        }
        self.suspects.retain(|(other, _)| *other != seq);
        for head in heads {
            self.step(head, at);
        }
        if self.to_fetch.front() == Some(&seq) {
            self.fetching = false;
        }
        self.to_fetch.retain(|other| *other != seq);
        self.fetch_next(&mut at.wishes);
    }

    /// Fetching failed: it is wished for again.
    pub(crate) fn fetch_failed(&mut self, wishes: &mut Wishes) {
        self.fetching = false;
        self.fetch_next(wishes);
    }

    /// The events of a batch came, by sequence.
    pub(crate) fn fetched(&mut self, seq: u64, mut events: HashMap<u64, StoredEvent>, at: &mut Moment<'_>) {
        self.to_fetch.retain(|other| *other != seq);
        self.fetching = false;
        let mut heads = Vec::new();
        if let Some(batch) = self.batches.get_mut(&seq) {
            // A redriven letter goes to its group whatever the group takes today.
            let takes_all = !matches!(batch.kept.origin, LaneOrigin::Replay { .. });
            for (index, reference) in batch.references.iter_mut().enumerate() {
                if reference.stage != Stage::Fetching {
                    continue;
                }
                let index = index as u32;
                let position = batch.kept.positions.get(index as usize).copied().unwrap_or_default();
                let Some(stored) = events.remove(&position) else {
                    batch.kept.progress.failed.push(LaneFailure { index, error: REMOVED.to_owned() });
                    close(&mut batch.kept.progress, reference, index);
                    continue;
                };
                if !takes_all && !at.rules.spec.takes(stored.event.event_type()) {
                    batch.kept.progress.skipped.push(index);
                    close(&mut batch.kept.progress, reference, index);
                    continue;
                }
                let key = Key::from(at.rules.spec.key.of(&stored.event));
                let queue = self.keys.entry(key.clone()).or_default();
                queue.push_back((seq, index));
                if queue.len() == 1 {
                    heads.push((seq, index));
                }
                *reference = Reference { stage: Stage::Waiting, key: Some(key), event: Some(stored) };
            }
            let left = batch.references.iter().filter(|reference| reference.stage != Stage::Done).count();
            self.references -= batch.left - left;
            batch.dirty |= left != batch.left;
            batch.left = left;
        }
        for place in heads {
            self.step(place, at);
        }
        self.fetch_next(&mut at.wishes);
    }

    /// Brings the first reference of a key as far as it goes by itself.
    fn step(&mut self, place: Place, at: &mut Moment<'_>) {
        let (seq, index) = place;
        let Some(batch) = self.batches.get_mut(&seq) else { return };
        let (attempts, due) = batch.retry(index).map_or((0, at.now), |retry| (retry.attempts, retry.due));
        let is_suspect = batch.is_suspect(index);
        let Some(reference) = batch.references.get_mut(index as usize) else { return };
        if reference.stage != Stage::Waiting {
            return;
        }
        if due > at.now {
            self.resting.extend(reference.key.clone());
            self.due.push(Reverse((due, place)));
            return;
        }
        if let Some(key) = reference.key.as_ref().filter(|_| !self.resting.is_empty()) {
            self.resting.remove(key);
        }
        if is_suspect {
            reference.stage = Stage::Suspect;
            self.suspects.push_back(place);
        } else if index < batch.claim {
            reference.stage = Stage::Handed;
            at.wishes.work.extend(work(&batch.kept, reference, index, attempts + 1, at.rules));
        }
    }

    /// References that are fetched and not claimed.
    pub(crate) fn unclaimed(&self) -> usize {
        let unclaimed = |batch: &Batch| batch.references.len() - batch.kept.progress.claimed_to as usize;
        self.fetched_batches().map(unclaimed).sum()
    }

    /// References that are claimed, or will be by the commit under way, and not done.
    pub(crate) fn claimed(&self) -> usize {
        let claimed = |batch: &Batch| {
            let claimed = batch.kept.progress.claimed_to as usize;
            // What rests, or waits behind it, is in nobody's way.
            let rests =
                |reference: &Reference| reference.key.as_ref().is_some_and(|key| self.resting.contains(key));
            let open = |reference: &&Reference| reference.stage != Stage::Done && !rests(reference);
            batch.references.iter().take(claimed).filter(open).count()
        };
        self.batches.values().map(claimed).sum()
    }

    fn fetched_batches(&self) -> impl Iterator<Item = &Batch> {
        let next = self.to_fetch.front().copied().unwrap_or(u64::MAX);
        self.batches.range(..next).map(|(_, batch)| batch)
    }

    /// Asks for a claim on up to `most` more references; how many it is for.
    pub(crate) fn ask(&mut self, most: usize) -> usize {
        let next = self.to_fetch.front().copied().unwrap_or(u64::MAX);
        let mut left = most;
        for (_, batch) in self.batches.range_mut(..next) {
            let free = batch.references.len() - batch.kept.progress.claimed_to as usize;
            let more = free.min(left);
            if more > 0 {
                batch.kept.progress.claimed_to += more as u32;
                batch.dirty = true;
                left -= more;
            }
            if left == 0 {
                break;
            }
        }
        most - left
    }

    pub(crate) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// Accuses the next suspect, as in the ledger.
    pub(crate) fn accuse(&mut self, rules: &Rules, now: Timestamp) -> Option<Accused> {
        while let Some((seq, index)) = self.suspects.pop_front() {
            let Some(batch) = self.batches.get_mut(&seq) else { continue };
            let Some(reference) = batch.references.get_mut(index as usize) else { continue };
            let Some(stored) = reference.event.clone().filter(|_| reference.stage == Stage::Suspect) else {
                continue;
            };
            let is_redrive = !matches!(batch.kept.origin, LaneOrigin::Replay { .. });
            let most = if is_redrive { 1 } else { rules.max_attempts(&stored.event) };
            let retry = retry_of(&mut batch.kept.progress, index, now);
            if retry.attempts >= most {
                let failure = ended_its_consumer(retry.attempts, now);
                return Some(Accused::Spent { batch: seq, index, stored, attempts: retry.attempts, failure });
            }
            retry.attempts += 1;
            reference.stage = Stage::Accused;
            batch.dirty = true;
            return Some(Accused::ToCommit);
        }
        None
    }

    /// Whether a reference is with a handler: its event, its origin and its attempts, this one included.
    pub(crate) fn handed(&self, seq: u64, index: u32) -> Option<(StoredEvent, LaneOrigin, u32)> {
        let batch = self.batches.get(&seq)?;
        let reference = batch.references.get(index as usize).filter(|r| r.stage == Stage::Handed)?;
        let before = batch.retry(index).map_or(0, |retry| retry.attempts);
        let attempts = if batch.is_suspect(index) { before } else { before + 1 };
        Some((reference.event.clone()?, batch.kept.origin.clone(), attempts))
    }

    /// How the attempts of a reference failed.
    pub(crate) fn failures(&self, seq: u64, index: u32) -> Vec<Failure> {
        let retry = self.batches.get(&seq).and_then(|batch| batch.retry(index));
        retry.map_or_else(Vec::new, |retry| retry.failures.clone())
    }

    pub(crate) fn is_suspect(&self, seq: u64, index: u32) -> bool {
        self.batches.get(&seq).is_some_and(|batch| batch.is_suspect(index))
    }

    /// Notes what became of a reference: one that was with a handler, or a suspect without attempts left.
    pub(crate) fn answered(&mut self, (seq, index): Place, outcome: LaneOutcome, at: &mut Moment<'_>) {
        let Some(batch) = self.batches.get_mut(&seq) else { return };
        let is_suspect = batch.is_suspect(index);
        let Some(reference) = batch.references.get_mut(index as usize) else { return };
        let key = reference.key.clone();
        let progress = &mut batch.kept.progress;
        batch.dirty = true;
        match outcome {
            LaneOutcome::Again { due, failure } => {
                let retry = retry_of(progress, index, at.now);
                retry.attempts += u32::from(!is_suspect);
                (retry.due, retry.error) = (due, failure.errors.join(": "));
                note_failure(&mut retry.failures, failure.shortened(), MAX_EARLIER_FAILURES);
                // It came back by itself: it is not what ends processes.
                retry.ends = 0;
                reference.stage = Stage::Waiting;
                self.resting.extend(key);
                self.due.push(Reverse((due, (seq, index))));
                return;
            }
            LaneOutcome::Handled => {}
            LaneOutcome::Skipped => progress.skipped.push(index),
            LaneOutcome::GaveUp { error } => progress.failed.push(LaneFailure { index, error }),
        }
        close(progress, reference, index);
        batch.left -= 1;
        self.references -= 1;
        if let Some(key) = key {
            self.next_of(&key, at);
        }
    }

    fn next_of(&mut self, key: &Key, at: &mut Moment<'_>) {
        let Some(queue) = self.keys.get_mut(key) else { return };
        queue.pop_front();
        match queue.front().copied() {
            Some(next) => self.step(next, at),
            None => {
                self.keys.remove(key);
            }
        }
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// Goes on with references whose pause is over.
    pub(crate) fn wake(&mut self, at: &mut Moment<'_>) {
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= at.now) {
            let Some(Reverse((_, place))) = self.due.pop() else { return };
            self.step(place, at);
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.batches.values().any(|batch| batch.dirty)
    }

    /// Progress to commit, and batches that are done.
    pub(crate) fn collect(&mut self) -> (Progress, Progress) {
        let (mut going_on, mut done) = (Vec::new(), Vec::new());
        for (seq, batch) in self.batches.iter_mut().filter(|(_, batch)| batch.dirty) {
            batch.dirty = false;
            let progress = batch.kept.progress.clone();
            if batch.left == 0 { done.push((*seq, progress)) } else { going_on.push((*seq, progress)) }
        }
        for (seq, _) in &done {
            self.batches.remove(seq);
            self.to_fetch.retain(|other| other != seq);
        }
        (going_on, done)
    }

    /// A commit with this progress was kept: what waited for it may be handed over.
    pub(crate) fn committed(&mut self, progress: &[(u64, LaneProgress)], at: &mut Moment<'_>) {
        for (seq, kept) in progress {
            let Some(batch) = self.batches.get_mut(seq) else { continue };
            let claim = batch.claim;
            batch.claim = claim.max(kept.claimed_to);
            let mut heads = Vec::new();
            for index in 0..kept.claimed_to {
                let Some(reference) = batch.references.get_mut(index as usize) else { break };
                if reference.stage == Stage::Accused {
                    let attempts = |retries: &[LaneRetry]| {
                        retries.iter().find(|retry| retry.index == index).map(|retry| retry.attempts)
                    };
                    // A commit that was under way when it was accused knows nothing of its attempt.
                    let kept = attempts(&kept.retries);
                    if let Some(attempt) = kept.filter(|_| kept == attempts(&batch.kept.progress.retries)) {
                        reference.stage = Stage::Handed;
                        at.wishes.work.extend(work(&batch.kept, reference, index, attempt, at.rules));
                    }
                } else if index >= claim && reference.stage == Stage::Waiting {
                    heads.push((reference.key.clone(), index));
                }
            }
            for (key, index) in heads {
                let queue = key.and_then(|key| self.keys.get(&key));
                if queue.and_then(VecDeque::front) == Some(&(*seq, index)) {
                    self.step((*seq, index), at);
                }
            }
        }
    }

    /// Takes claims back on what is with no handler, for a segment that is given back in order; suspects stay suspect.
    pub(crate) fn unclaim(&mut self) {
        for batch in self.batches.values_mut() {
            let last_suspect =
                (0..batch.kept.progress.claimed_to).rev().find(|index| batch.is_suspect(*index));
            let to = last_suspect.map_or(0, |index| index + 1);
            if to != batch.kept.progress.claimed_to {
                batch.kept.progress.claimed_to = to;
                batch.dirty = true;
            }
            for retry in batch.kept.progress.retries.iter_mut().filter(|retry| retry.ends >= ALONE_AFTER) {
                let reference = batch.references.get(retry.index as usize);
                if reference.is_some_and(|r| matches!(r.stage, Stage::Accused | Stage::Handed)) {
                    // It was not handed over, or handed back: its process did not end by it.
                    retry.attempts = retry.attempts.saturating_sub(1);
                    batch.dirty = true;
                }
            }
        }
    }
}

fn close(progress: &mut LaneProgress, reference: &mut Reference, index: u32) {
    progress.done.insert(index);
    progress.retries.retain(|retry| retry.index != index);
    *reference = Reference { stage: Stage::Done, key: None, event: None };
}

fn retry_of(progress: &mut LaneProgress, index: u32, now: Timestamp) -> &mut LaneRetry {
    let at = match progress.retries.iter().position(|retry| retry.index == index) {
        Some(at) => at,
        None => {
            progress.retries.push(LaneRetry {
                index,
                attempts: 0,
                ends: 0,
                due: now,
                error: String::new(),
                failures: Vec::new(),
            });
            progress.retries.len() - 1
        }
    };
    &mut progress.retries[at]
}

fn work(batch: &LaneBatch, reference: &Reference, index: u32, attempt: u32, rules: &Rules) -> Option<Work> {
    let stored = reference.event.clone()?;
    let (origin, is_last_attempt) = match &batch.origin {
        LaneOrigin::Replay { replay_id, .. } => {
            let origin = DeliveryOrigin::Replay { replay_id: replay_id.clone() };
            (origin, attempt >= rules.max_attempts(&stored.event))
        }
        // A redrive is one attempt: whoever asked for it looks at what came of it.
        LaneOrigin::Redrive { dead_letter } | LaneOrigin::Discarded { dead_letter } => {
            (DeliveryOrigin::Redrive { dead_letter: dead_letter.clone() }, true)
        }
    };
    let way = Way::Lane { batch: batch.seq, index };
    Some(Work { way, stored, origin, attempt, is_last_attempt, waiting_since: None })
}

/// A suspect whose turn has come.
#[derive(Debug)]
pub(crate) enum Accused {
    /// Its attempt is noted and waits to be committed.
    ToCommit,
    /// It has no attempt left.
    Spent { batch: u64, index: u32, stored: StoredEvent, attempts: u32, failure: Failure },
}
