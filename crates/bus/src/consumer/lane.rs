//! The replay lane of a segment in memory: batches of references, delivered within each key in the order of the lane.
//!
//! References are claimed and committed batch by batch. A reference that was in flight at two crashes needs an isolated
//! attempt, as in the ledger.

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
    fetch::BatchEvents,
    ledger::ALONE_AFTER,
    rules::{Rules, ended_its_consumer},
    work::{DeliverySource, Effects, FetchRequest, StepContext, Work},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The event of the reference is being fetched.
    Fetching,
    /// The reference waits behind another reference of its key, for its claim, or until it is due.
    Waiting,
    /// The reference waits for its isolated attempt.
    AwaitsIsolation,
    /// The isolated attempt of the reference waits for its commit.
    IsolatedAttempt,
    /// The reference is with a handler.
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
    /// Open references that are claimed or that the next commit will claim. The field keeps the number because every
    /// answer needs it.
    open: usize,
    /// The committed claim.
    claim: u32,
    dirty: bool,
}

impl Batch {
    /// Counts one more crash for each open reference that was claimed when the last consumer ended. The new count is
    /// committed before any of these references is delivered.
    fn note_ends(&mut self) {
        for index in 0..self.kept.progress.claimed_to {
            let is_open = self.references.get(index as usize).is_some_and(|r| r.stage != Stage::Done);
            if is_open {
                // If the reference has a retry, it keeps its due time. An event without a retry is due immediately.
                retry_of(&mut self.kept.progress, index, Timestamp::UNIX_EPOCH).ends += 1;
                self.dirty = true;
            }
        }
    }

    fn retry(&self, index: u32) -> Option<&LaneRetry> {
        self.kept.progress.retries.iter().find(|retry| retry.index == index)
    }

    fn needs_isolation(&self, index: u32) -> bool {
        self.retry(index).is_some_and(|retry| retry.ends >= ALONE_AFTER)
    }

    /// Returns the open references that are claimed or that the next commit will claim.
    fn claimed(&self) -> impl Iterator<Item = &Reference> {
        let claimed = self.references.iter().take(self.kept.progress.claimed_to as usize);
        claimed.filter(|reference| reference.stage != Stage::Done)
    }

    /// Sets the claim to the first `claimed_to` references.
    fn claim_to(&mut self, claimed_to: u32) {
        self.kept.progress.claimed_to = claimed_to;
        self.open = self.claimed().count();
    }

    /// Claims `more` further references.
    fn claim_more(&mut self, more: usize) {
        let claimed = self.kept.progress.claimed_to as usize;
        let fresh = self.references.iter().skip(claimed).take(more);
        self.open += fresh.filter(|reference| reference.stage != Stage::Done).count();
        self.kept.progress.claimed_to += more as u32;
    }

    /// Marks a reference as done.
    fn close(&mut self, index: u32) {
        let Some(reference) = self.references.get_mut(index as usize) else { return };
        let progress = &mut self.kept.progress;
        if reference.stage != Stage::Done {
            self.left -= 1;
            self.open -= usize::from(index < progress.claimed_to);
        }
        progress.done.insert(index);
        progress.retries.retain(|retry| retry.index != index);
        *reference = Reference { stage: Stage::Done, key: None, event: None };
    }
}

type ReferenceId = (u64, u32);

/// The progress of batches, by their place in the lane.
pub(crate) type LaneUpdates = Vec<(u64, LaneProgress)>;

/// The outcome of a reference.
#[derive(Debug)]
pub(crate) enum LaneOutcome {
    Handled,
    Skipped,
    Again { due: Timestamp, failure: Failure },
    GaveUp { error: String },
}

/// The replay lane of a segment.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// The place of the last batch that was added.
    after: u64,
    batches: BTreeMap<u64, Batch>,
    /// The open references of each key, in order.
    keys: HashMap<Key, VecDeque<ReferenceId>>,
    due: BinaryHeap<Reverse<(Timestamp, ReferenceId)>>,
    /// Keys whose first reference waits for a retry.
    resting: HashSet<Key>,
    isolation_queue: VecDeque<ReferenceId>,
    /// Batches whose events must be fetched. They are fetched one after the other, so that the queues of keys stay in
    /// order.
    to_fetch: VecDeque<u64>,
    fetching: bool,
    references: usize,
}

impl Lane {
    /// Returns the place after which there may be further batches.
    pub(crate) fn after(&self) -> u64 {
        self.after
    }

    /// Returns the number of open references.
    pub(crate) fn references(&self) -> usize {
        self.references
    }

    /// Returns the number of open references that do not wait for a retry of their key's first reference.
    pub(crate) fn free_references(&self) -> usize {
        let waits = |Reverse((_, place)): &Reverse<(Timestamp, ReferenceId)>| {
            let reference = self.batches.get(&place.0)?.references.get(place.1 as usize)?;
            let queue = self.keys.get(reference.key.as_ref()?)?;
            (reference.stage == Stage::Waiting && queue.front() == Some(place)).then_some(queue.len())
        };
        self.references - self.due.iter().filter_map(waits).sum::<usize>().min(self.references)
    }

    /// Closes a batch whose references no handler must receive. The batch is then done.
    pub(crate) fn close_batch(&mut self, seq: u64, effects: &mut Effects) {
        self.to_fetch.retain(|other| *other != seq);
        self.fetching = false;
        if let Some(batch) = self.batches.get_mut(&seq) {
            self.references -= batch.left;
            for index in 0..batch.references.len() as u32 {
                batch.close(index);
            }
            batch.dirty = true;
        }
        self.fetch_next(effects);
    }

    /// Adds a batch.
    pub(crate) fn take_in(&mut self, batch: LaneBatch, effects: &mut Effects) {
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
        let mut batch = Batch { claim: 0, references, left, open: 0, dirty: left == 0, kept: batch };
        batch.claim_to(batch.kept.progress.claimed_to);
        batch.note_ends();
        self.batches.insert(batch.kept.seq, batch);
        self.fetch_next(effects);
    }

    fn fetch_next(&mut self, effects: &mut Effects) {
        if let Some(batch) = self.to_fetch.front().filter(|_| !self.fetching) {
            self.fetching = true;
            effects.fetch_requests.push(FetchRequest::OfBatch { batch: *batch });
        }
    }

    /// Returns the sequences of a batch's open references, and the batch's origin.
    pub(crate) fn to_fetch(&self, batch: u64) -> Option<(Vec<u64>, LaneOrigin)> {
        let batch = self.batches.get(&batch)?;
        let open =
            |(at, _): &(usize, &u64)| batch.references.get(*at).is_some_and(|r| r.stage != Stage::Done);
        let positions = batch.kept.positions.iter().enumerate().filter(open).map(|(_, position)| *position);
        Some((positions.collect(), batch.kept.origin.clone()))
    }

    /// Removes a withdrawn batch. The references behind its references take their turn.
    pub(crate) fn drop_batch(&mut self, seq: u64, at: &mut StepContext<'_>) {
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
        self.isolation_queue.retain(|(other, _)| *other != seq);
        for head in heads {
            self.step(head, at);
        }
        if self.to_fetch.front() == Some(&seq) {
            self.fetching = false;
        }
        self.to_fetch.retain(|other| *other != seq);
        self.fetch_next(&mut at.effects);
    }

    /// Requests a failed fetch again.
    pub(crate) fn fetch_failed(&mut self, effects: &mut Effects) {
        self.fetching = false;
        self.fetch_next(effects);
    }

    /// Accepts the fetched events of a batch.
    pub(crate) fn fetched(&mut self, seq: u64, events: &BatchEvents, at: &mut StepContext<'_>) {
        self.to_fetch.retain(|other| *other != seq);
        self.fetching = false;
        let mut heads = Vec::new();
        if let Some(batch) = self.batches.get_mut(&seq) {
            // A redriven dead letter goes to its group even if the group no longer takes its type.
            let takes_all = !matches!(batch.kept.origin, LaneOrigin::Replay { .. });
            let left = batch.left;
            for index in 0..batch.references.len() as u32 {
                let is_fetched = |reference: &Reference| reference.stage == Stage::Fetching;
                if !batch.references.get(index as usize).is_some_and(is_fetched) {
                    continue;
                }
                let position = batch.kept.positions.get(index as usize).copied().unwrap_or_default();
                let Some(stored) = events.get(position) else {
                    batch.kept.progress.failed.push(LaneFailure { index, error: REMOVED.to_owned() });
                    batch.close(index);
                    continue;
                };
                if !takes_all && !at.rules.spec.takes(stored.event.event_type()) {
                    batch.kept.progress.skipped.push(index);
                    batch.close(index);
                    continue;
                }
                let key = Key::from(at.rules.spec.key.of(&stored.event));
                let queue = self.keys.entry(key.clone()).or_default();
                queue.push_back((seq, index));
                if queue.len() == 1 {
                    heads.push((seq, index));
                }
                if let Some(reference) = batch.references.get_mut(index as usize) {
                    *reference = Reference { stage: Stage::Waiting, key: Some(key), event: Some(stored) };
                }
            }
            self.references -= left - batch.left;
            batch.dirty |= left != batch.left;
        }
        for place in heads {
            self.step(place, at);
        }
        self.fetch_next(&mut at.effects);
    }

    /// Moves the first reference of a key to its next stage that depends on a commit or a handler.
    fn step(&mut self, place: ReferenceId, at: &mut StepContext<'_>) {
        let (seq, index) = place;
        let Some(batch) = self.batches.get_mut(&seq) else { return };
        let (attempts, due) = batch.retry(index).map_or((0, at.now), |retry| (retry.attempts, retry.due));
        let needs_isolation = batch.needs_isolation(index);
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
        if needs_isolation {
            reference.stage = Stage::AwaitsIsolation;
            self.isolation_queue.push_back(place);
        } else if index < batch.claim {
            reference.stage = Stage::Handed;
            at.effects.work.extend(work(&batch.kept, reference, index, attempts + 1, at.rules));
        }
    }

    /// Returns the number of references that are fetched and not claimed.
    pub(crate) fn unclaimed(&self) -> usize {
        let unclaimed = |batch: &Batch| batch.references.len() - batch.kept.progress.claimed_to as usize;
        self.fetched_batches().map(unclaimed).sum()
    }

    /// Returns the number of open references that are claimed or that the commit in progress will claim.
    pub(crate) fn claimed(&self) -> usize {
        if self.resting.is_empty() {
            return self.batches.values().map(|batch| batch.open).sum();
        }
        // A reference that waits for a retry, or that is queued behind such a reference, delays no other key.
        let rests =
            |reference: &&Reference| reference.key.as_ref().is_some_and(|key| self.resting.contains(key));
        let claimed = self.batches.values().flat_map(Batch::claimed);
        claimed.filter(|reference| !rests(reference)).count()
    }

    fn fetched_batches(&self) -> impl Iterator<Item = &Batch> {
        let next = self.to_fetch.front().copied().unwrap_or(u64::MAX);
        self.batches.range(..next).map(|(_, batch)| batch)
    }

    /// Requests a claim on up to `most` more references. Returns the number of references in the request.
    pub(crate) fn ask(&mut self, most: usize) -> usize {
        let next = self.to_fetch.front().copied().unwrap_or(u64::MAX);
        let mut left = most;
        for (_, batch) in self.batches.range_mut(..next) {
            let free = batch.references.len() - batch.kept.progress.claimed_to as usize;
            let more = free.min(left);
            if more > 0 {
                batch.claim_more(more);
                batch.dirty = true;
                left -= more;
            }
            if left == 0 {
                break;
            }
        }
        most - left
    }

    pub(crate) fn awaits_isolation(&self) -> bool {
        !self.isolation_queue.is_empty()
    }

    /// Starts the next isolated attempt, as the ledger does.
    pub(crate) fn start_isolated_attempt(
        &mut self,
        rules: &Rules,
        now: Timestamp,
    ) -> Option<IsolatedAttempt> {
        while let Some((seq, index)) = self.isolation_queue.pop_front() {
            let Some(batch) = self.batches.get_mut(&seq) else { continue };
            let Some(reference) = batch.references.get_mut(index as usize) else { continue };
            let Some(stored) = reference.event.clone().filter(|_| reference.stage == Stage::AwaitsIsolation)
            else {
                continue;
            };
            let is_redrive = !matches!(batch.kept.origin, LaneOrigin::Replay { .. });
            let most = if is_redrive { 1 } else { rules.max_attempts(&stored.event) };
            let retry = retry_of(&mut batch.kept.progress, index, now);
            if retry.attempts >= most {
                let failure = ended_its_consumer(retry.attempts, now);
                return Some(IsolatedAttempt::Spent {
                    batch: seq,
                    index,
                    stored,
                    attempts: retry.attempts,
                    failure,
                });
            }
            retry.attempts += 1;
            reference.stage = Stage::IsolatedAttempt;
            batch.dirty = true;
            return Some(IsolatedAttempt::ToCommit);
        }
        None
    }

    /// Returns the event, the origin and the number of attempts of a reference that is with a handler. The number
    /// includes this attempt.
    pub(crate) fn handed(&self, seq: u64, index: u32) -> Option<(StoredEvent, LaneOrigin, u32)> {
        let batch = self.batches.get(&seq)?;
        let reference = batch.references.get(index as usize).filter(|r| r.stage == Stage::Handed)?;
        let before = batch.retry(index).map_or(0, |retry| retry.attempts);
        let attempts = if batch.needs_isolation(index) { before } else { before + 1 };
        Some((reference.event.clone()?, batch.kept.origin.clone(), attempts))
    }

    /// Returns the failures of the attempts of a reference.
    pub(crate) fn failures(&self, seq: u64, index: u32) -> Vec<Failure> {
        let retry = self.batches.get(&seq).and_then(|batch| batch.retry(index));
        retry.map_or_else(Vec::new, |retry| retry.failures.clone())
    }

    pub(crate) fn needs_isolation(&self, seq: u64, index: u32) -> bool {
        self.batches.get(&seq).is_some_and(|batch| batch.needs_isolation(index))
    }

    /// Records the outcome of a reference that a handler answered or that has no attempts left.
    pub(crate) fn answered(
        &mut self,
        (seq, index): ReferenceId,
        outcome: LaneOutcome,
        at: &mut StepContext<'_>,
    ) {
        let Some(batch) = self.batches.get_mut(&seq) else { return };
        let needs_isolation = batch.needs_isolation(index);
        let Some(reference) = batch.references.get_mut(index as usize) else { return };
        let key = reference.key.clone();
        let progress = &mut batch.kept.progress;
        batch.dirty = true;
        match outcome {
            LaneOutcome::Again { due, failure } => {
                let retry = retry_of(progress, index, at.now);
                retry.attempts += u32::from(!needs_isolation);
                (retry.due, retry.error) = (due, failure.errors.join(": "));
                note_failure(&mut retry.failures, failure.shortened(), MAX_EARLIER_FAILURES);
                // The handler answered, so the event did not end the process.
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
        batch.close(index);
        self.references -= 1;
        if let Some(key) = key {
            self.next_of(&key, at);
        }
    }

    fn next_of(&mut self, key: &Key, at: &mut StepContext<'_>) {
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

    /// Continues with the references whose pause is over.
    pub(crate) fn wake(&mut self, at: &mut StepContext<'_>) {
        while self.due.peek().is_some_and(|Reverse((due, _))| *due <= at.now) {
            let Some(Reverse((_, place))) = self.due.pop() else { return };
            self.step(place, at);
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        self.batches.values().any(|batch| batch.dirty)
    }

    /// Returns the progress of open batches to commit, and the batches that are done.
    pub(crate) fn collect(&mut self) -> (LaneUpdates, LaneUpdates) {
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

    /// Applies a stored commit with this progress. Deliveries that waited for it may start.
    pub(crate) fn committed(&mut self, progress: &[(u64, LaneProgress)], at: &mut StepContext<'_>) {
        for (seq, kept) in progress {
            let Some(batch) = self.batches.get_mut(seq) else { continue };
            let claim = batch.claim;
            batch.claim = claim.max(kept.claimed_to);
            let mut heads = Vec::new();
            for index in 0..kept.claimed_to {
                let Some(reference) = batch.references.get_mut(index as usize) else { break };
                if reference.stage == Stage::IsolatedAttempt {
                    let attempts = |retries: &[LaneRetry]| {
                        retries.iter().find(|retry| retry.index == index).map(|retry| retry.attempts)
                    };
                    // A commit that was already in progress when the reference was isolated does not contain its
                    // attempt.
                    let kept = attempts(&kept.retries);
                    if let Some(attempt) = kept.filter(|_| kept == attempts(&batch.kept.progress.retries)) {
                        reference.stage = Stage::Handed;
                        at.effects.work.extend(work(&batch.kept, reference, index, attempt, at.rules));
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

    /// Withdraws the claims on deliveries that no handler has. A segment that is released in order needs this.
    /// Deliveries that await isolation stay claimed.
    pub(crate) fn unclaim(&mut self) {
        for batch in self.batches.values_mut() {
            let last_isolated =
                (0..batch.kept.progress.claimed_to).rev().find(|index| batch.needs_isolation(*index));
            let to = last_isolated.map_or(0, |index| index + 1);
            if to != batch.kept.progress.claimed_to {
                batch.claim_to(to);
                batch.dirty = true;
            }
            for retry in batch.kept.progress.retries.iter_mut().filter(|retry| retry.ends >= ALONE_AFTER) {
                let reference = batch.references.get(retry.index as usize);
                if reference.is_some_and(|r| matches!(r.stage, Stage::IsolatedAttempt | Stage::Handed)) {
                    // The event was not delivered, or its handler answered, so it did not end the process.
                    retry.attempts = retry.attempts.saturating_sub(1);
                    batch.dirty = true;
                }
            }
        }
    }
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
        // A redrive has one attempt. The operator checks its result.
        LaneOrigin::Redrive { dead_letter } | LaneOrigin::Discarded { dead_letter } => {
            (DeliveryOrigin::Redrive { dead_letter: dead_letter.clone() }, true)
        }
    };
    let source = DeliverySource::Lane { batch: batch.seq, index };
    Some(Work { source, stored, origin, attempt, is_last_attempt, waiting_since: None })
}

/// The result of the start of an isolated attempt.
#[derive(Debug)]
pub(crate) enum IsolatedAttempt {
    /// The attempt is recorded and waits for its commit.
    ToCommit,
    /// The reference has no attempts left.
    Spent { batch: u64, index: u32, stored: StoredEvent, attempts: u32, failure: Failure },
}
