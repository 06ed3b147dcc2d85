//! A leased segment: its state in memory, and the content of its next commit.
//!
//! This module makes no I/O. Its inputs are events, answers and stored commits, and its outputs are [`Effects`].

use domain::{
    Cursor, StoredEvent,
    dead_letter::{Failure, NewDeadLetter},
    group::{Key, LaneBatch, LaneOrigin, Lease, MAX_BLOCKED_KEYS, SegmentState},
    ports::SegmentCommit,
};
use jiff::Timestamp;

use super::{
    fetch::BatchEvents,
    lane::{self, Lane, LaneOutcome},
    ledger::{self, Ledger, RowOutcome},
    live::{Leaving, Live},
    rules::{Decision, HandlerOutcome, Rules},
    work::{DeliverySource, Effects, StepContext},
};

/// The result of a delivery, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    Done,
    Skipped,
    Again,
    DeadLettered,
    Dropped,
    /// The delivery no longer belonged to this segment.
    Stale,
}

/// Changes to a segment since its last commit that its ledger and lane do not hold.
#[derive(Debug, Default)]
struct Outbox {
    dead_letters: Vec<NewDeadLetter>,
    handled_dead_letters: Vec<String>,
}

/// The failure of a delivery that the group gives up on.
struct Failed {
    attempts: u32,
    earlier: Vec<Failure>,
    last: Failure,
}

/// A leased segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) lease: Lease,
    pub(crate) partition: u16,
    /// Whether to release the segment as soon as no handler has a delivery of it.
    pub(crate) leaving: bool,
    live: Live,
    ledger: Ledger,
    lane: Lane,
    /// An earlier consumer that ended may have delivered events up to this sequence.
    isolate_to: u64,
    outbox: Outbox,
    /// The cursor that is stored.
    kept_cursor: u64,
    /// Answers for blocked keys and for the lane since the last commit was built.
    answers: usize,
    /// Whether live entries became dead letters. The cursor of the next commit must pass these entries.
    must_pass: bool,
    was_full: bool,
}

impl Segment {
    /// Returns a segment in its state at the start of the lease, and the first effects.
    pub(crate) fn new(lease: Lease, state: SegmentState, rules: &Rules, now: Timestamp) -> (Self, Effects) {
        let (ledger, effects) = Ledger::load(state.blocked, rules, now);
        let segment = Self {
            partition: state.partition,
            leaving: false,
            live: Live::new(state.cursor),
            lane: Lane::default(),
            isolate_to: state.claimed_to,
            outbox: Outbox::default(),
            kept_cursor: state.cursor,
            answers: 0,
            must_pass: false,
            was_full: false,
            ledger,
            lease,
        };
        (segment, effects)
    }

    pub(crate) fn read_to(&self) -> u64 {
        self.live.read_to()
    }

    pub(crate) fn lane_after(&self) -> u64 {
        self.lane.after()
    }

    pub(crate) fn lane(&self) -> &Lane {
        &self.lane
    }

    /// Returns whether the segment can accept no more events because its ledger is full.
    pub(crate) fn is_full(&self) -> bool {
        self.ledger.is_full()
    }

    /// Returns whether the segment accepts the events after a cursor: it has room, and it was read at least up to the
    /// cursor.
    pub(crate) fn goes_on_from(&self, after: &Cursor) -> bool {
        !self.is_full() && self.live.read_to() >= after.sequence(self.partition)
    }

    /// Returns whether the ledger has become full since the last call.
    pub(crate) fn has_filled_up(&mut self) -> bool {
        let was_full = std::mem::replace(&mut self.was_full, self.ledger.is_full());
        self.ledger.is_full() && !was_full
    }

    pub(crate) fn blocked_keys(&self) -> usize {
        self.ledger.len()
    }

    /// Accepts an event of this segment, unless the segment has read past it.
    pub(crate) fn offer(&mut self, key: Key, stored: &StoredEvent, at: &mut StepContext<'_>) {
        let seq = stored.position.sequence;
        if seq <= self.live.read_to() {
            return;
        }
        if seq <= self.isolate_to {
            self.ledger.take_claimed(&key, stored.clone(), at);
        } else if !self.ledger.extend(&key, stored, at) {
            self.live.offer(key, stored.clone());
        }
        self.live.was_read_to(seq);
    }

    /// Records that the log was read up to `seq` and that all events of this segment up to there were offered.
    pub(crate) fn was_read_to(&mut self, seq: u64) {
        self.live.was_read_to(seq);
    }

    /// Adds a batch of the replay lane.
    pub(crate) fn take_in(&mut self, batch: LaneBatch, effects: &mut Effects) {
        self.lane.take_in(batch, effects);
    }

    /// Returns the sequences of the open events of a lane batch, and the batch's origin.
    pub(crate) fn batch_to_fetch(&self, batch: u64) -> Option<(Vec<u64>, LaneOrigin)> {
        self.lane.to_fetch(batch)
    }

    /// Accepts the fetched events of a lane batch.
    pub(crate) fn batch_fetched(&mut self, batch: u64, events: &BatchEvents, at: &mut StepContext<'_>) {
        if let Some((positions, LaneOrigin::Discarded { .. })) = self.lane.to_fetch(batch) {
            for seq in positions {
                self.ledger.release_at(seq, at);
            }
            self.lane.close_batch(batch, &mut at.effects);
            return;
        }
        self.lane.fetched(batch, events, at);
    }

    /// Removes withdrawn batches from the lane. No reference of them is delivered any more.
    pub(crate) fn withdraw(&mut self, batches: &[u64], at: &mut StepContext<'_>) {
        for batch in batches {
            self.lane.drop_batch(*batch, at);
        }
    }

    pub(crate) fn batch_fetch_failed(&mut self, effects: &mut Effects) {
        self.lane.fetch_failed(effects);
    }

    /// Accepts the fetched events of a blocked key.
    pub(crate) fn key_fetched(
        &mut self,
        key: &Key,
        events: Vec<StoredEvent>,
        complete_to: u64,
        at: &mut StepContext<'_>,
    ) {
        self.ledger.fetched(key, events, complete_to, at);
    }

    pub(crate) fn key_fetch_failed(&mut self, key: &Key, again: Timestamp) {
        self.ledger.fetch_failed(key, again);
    }

    /// Returns the time of the next due retry or fetch.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        [self.ledger.next_due(), self.lane.next_due()].into_iter().flatten().min()
    }

    /// Continues with all keys and references that are due.
    pub(crate) fn wake(&mut self, at: &mut StepContext<'_>) {
        self.ledger.wake(at);
        self.lane.wake(at);
    }

    /// Returns the number of unsettled deliveries that are claimed or that the next commit will claim.
    pub(crate) fn claimed(&self) -> usize {
        self.live.claimed() + self.lane.claimed()
    }

    /// Returns the number of deliveries that may be claimed: live deliveries, and references of the lane.
    pub(crate) fn unclaimed(&self) -> (usize, usize) {
        (self.live.unclaimed().min(self.room()), self.lane.unclaimed())
    }

    /// Returns the number of live deliveries that may still be claimed. The ledger must have room for all of them.
    fn room(&self) -> usize {
        if self.ledger.is_full() {
            return 0;
        }
        MAX_BLOCKED_KEYS.saturating_sub(self.ledger.len() + self.live.claimed())
    }

    /// Requests claims on up to `most` live deliveries. Returns the number of requested claims.
    pub(crate) fn ask_live(&mut self, most: usize) -> usize {
        self.live.ask(most.min(self.room()))
    }

    /// Requests claims on up to `most` references of the lane. Returns the number of requested claims.
    pub(crate) fn ask_lane(&mut self, most: usize) -> usize {
        self.lane.ask(most)
    }

    /// Moves the keys whose first delivery is with a handler while others wait behind it into the ledger.
    pub(crate) fn spill_slow_keys(&mut self, at: &mut StepContext<'_>) {
        for key in self.live.take_slow() {
            self.ledger.admit(key, at);
        }
    }

    pub(crate) fn awaits_isolation(&self) -> bool {
        self.ledger.awaits_isolation() || self.lane.awaits_isolation()
    }

    /// Starts the isolated attempt of the next delivery that awaits one. Returns false if there is no such delivery
    /// with attempts left.
    pub(crate) fn start_isolated_attempt(&mut self, at: &mut StepContext<'_>) -> bool {
        while self.awaits_isolation() {
            match self.ledger.start_isolated_attempt(at.rules, at.now) {
                Some(ledger::IsolatedAttempt::ToCommit) => return true,
                Some(ledger::IsolatedAttempt::Spent { key, stored, attempts, failure }) => {
                    let failed = Failed { attempts, earlier: self.ledger.failures(&key), last: failure };
                    self.give_up(&stored, failed, None, at.rules);
                    let seq = stored.position.sequence;
                    self.ledger.answered(&key, seq, RowOutcome::GaveUp, at);
                    continue;
                }
                None => {}
            }
            match self.lane.start_isolated_attempt(at.rules, at.now) {
                Some(lane::IsolatedAttempt::ToCommit) => return true,
                Some(lane::IsolatedAttempt::Spent { batch, index, stored, attempts, failure }) => {
                    let error = failure.errors.join(": ");
                    let origin = self.lane.to_fetch(batch).map(|(_, origin)| origin);
                    let earlier = self.lane.failures(batch, index);
                    let failed = Failed { attempts, earlier, last: failure };
                    self.give_up(&stored, failed, origin.as_ref(), at.rules);
                    self.lane.answered((batch, index), LaneOutcome::GaveUp { error }, at);
                }
                None => {}
            }
        }
        false
    }

    /// Returns whether a delivery was in flight at two crashes and therefore must run alone.
    pub(crate) fn needs_isolation(&self, source: &DeliverySource) -> bool {
        match source {
            DeliverySource::Live { seq, key } => self.ledger.needs_isolation(key, *seq),
            DeliverySource::Lane { batch, index } => self.lane.needs_isolation(*batch, *index),
        }
    }

    /// Records the answer of a handler.
    pub(crate) fn answered(
        &mut self,
        source: &DeliverySource,
        stored: &StoredEvent,
        answer: HandlerOutcome,
        at: &mut StepContext<'_>,
    ) -> Settled {
        let done = self.live.done();
        let settled = match source {
            DeliverySource::Live { seq, key } => self.live_answered(*seq, key, stored, answer, at),
            DeliverySource::Lane { batch, index } => self.lane_answered((*batch, *index), answer, at),
        };
        // Done live entries are counted in `live` until the cursor passes them.
        self.answers += usize::from(self.live.done() == done);
        settled
    }

    fn live_answered(
        &mut self,
        seq: u64,
        key: &Key,
        stored: &StoredEvent,
        answer: HandlerOutcome,
        at: &mut StepContext<'_>,
    ) -> Settled {
        if let Some(attempts) = self.ledger.handed(key, seq) {
            return self.row_answered((seq, key, attempts), stored, answer, at);
        }
        if !self.live.is_handed(seq) {
            return Settled::Stale;
        }
        match at.rules.decide(&stored.event, 1, answer, at.now) {
            decision @ (Decision::Done | Decision::Skipped) => {
                self.finish_live(seq, at);
                if matches!(decision, Decision::Done) { Settled::Done } else { Settled::Skipped }
            }
            Decision::Again { due, failure } => {
                self.block(key, at);
                self.ledger.answered(key, seq, RowOutcome::Again { due, failure }, at);
                Settled::Again
            }
            Decision::GiveUp(failure) => {
                let failed = Failed { attempts: 1, earlier: Vec::new(), last: failure };
                let settled = self.give_up(stored, failed, None, at.rules);
                if at.rules.park && at.rules.dead_letters {
                    self.block(key, at);
                    self.ledger.answered(key, seq, RowOutcome::GaveUp, at);
                } else {
                    self.must_pass = true;
                    self.finish_live(seq, at);
                }
                settled
            }
        }
    }

    fn finish_live(&mut self, seq: u64, at: &mut StepContext<'_>) {
        if let Some((key, stored)) = self.live.finish(seq) {
            at.effects.work.push(live_work(key, stored, at.rules));
        }
    }

    /// Moves a key's entries to the ledger.
    fn block(&mut self, key: &Key, at: &mut StepContext<'_>) {
        if let Some(leaving) = self.live.take_key(key) {
            self.ledger.admit(leaving, at);
        }
    }

    fn row_answered(
        &mut self,
        (seq, key, attempts): (u64, &Key, u32),
        stored: &StoredEvent,
        answer: HandlerOutcome,
        at: &mut StepContext<'_>,
    ) -> Settled {
        let (outcome, settled) = match at.rules.decide(&stored.event, attempts, answer, at.now) {
            Decision::Done => (RowOutcome::Next, Settled::Done),
            Decision::Skipped => (RowOutcome::Next, Settled::Skipped),
            Decision::Again { due, failure } => (RowOutcome::Again { due, failure }, Settled::Again),
            Decision::GiveUp(failure) => {
                let failed = Failed { attempts, earlier: self.ledger.failures(key), last: failure };
                let settled = self.give_up(stored, failed, None, at.rules);
                (if at.rules.dead_letters { RowOutcome::GaveUp } else { RowOutcome::Next }, settled)
            }
        };
        self.ledger.answered(key, seq, outcome, at);
        settled
    }

    fn lane_answered(
        &mut self,
        place: (u64, u32),
        answer: HandlerOutcome,
        at: &mut StepContext<'_>,
    ) -> Settled {
        let Some((stored, origin, attempts)) = self.lane.handed(place.0, place.1) else {
            return Settled::Stale;
        };
        let decision = match (&origin, at.rules.decide(&stored.event, attempts, answer, at.now)) {
            // A redrive has one attempt.
            (LaneOrigin::Redrive { .. }, Decision::Again { failure, .. }) => Decision::GiveUp(failure),
            (_, decision) => decision,
        };
        let (outcome, settled) = match decision {
            Decision::Done => (LaneOutcome::Handled, Settled::Done),
            Decision::Skipped => (LaneOutcome::Skipped, Settled::Skipped),
            Decision::Again { due, failure } => (LaneOutcome::Again { due, failure }, Settled::Again),
            Decision::GiveUp(failure) => {
                let error = failure.errors.join(": ");
                let tried = if matches!(origin, LaneOrigin::Redrive { .. }) { 1 } else { attempts };
                let earlier = self.lane.failures(place.0, place.1);
                let failed = Failed { attempts: tried, earlier, last: failure };
                let settled = self.give_up(&stored, failed, Some(&origin), at.rules);
                (LaneOutcome::GaveUp { error }, settled)
            }
        };
        if let (LaneOrigin::Redrive { dead_letter }, Settled::Done | Settled::Skipped) = (&origin, settled) {
            self.outbox.handled_dead_letters.push(dead_letter.clone());
            self.ledger.release_at(stored.position.sequence, at);
        }
        self.lane.answered(place, outcome, at);
        settled
    }

    fn give_up(
        &mut self,
        stored: &StoredEvent,
        failed: Failed,
        origin: Option<&LaneOrigin>,
        rules: &Rules,
    ) -> Settled {
        // A failed redrive becomes a dead letter again, even if dead letters are now off.
        let is_redrive = matches!(origin, Some(LaneOrigin::Redrive { .. }));
        if !rules.dead_letters && !is_redrive {
            return Settled::Dropped;
        }
        let replay_id = match origin {
            Some(LaneOrigin::Replay { replay_id, .. }) => Some(replay_id.clone()),
            _ => None,
        };
        self.outbox.dead_letters.push(NewDeadLetter {
            position: stored.position,
            attempts: failed.attempts,
            fingerprint: Rules::fingerprint(&stored.event, &failed.last),
            failure: failed.last,
            earlier: failed.earlier,
            replay_id,
            parked: rules.park && origin.is_none(),
        });
        Settled::DeadLettered
    }

    /// Returns the number of answers that no commit has settled yet.
    pub(crate) fn unsettled(&self) -> usize {
        self.answers + self.live.done()
    }

    /// Returns whether a commit is needed soon.
    pub(crate) fn is_urgent(&self) -> bool {
        self.live.asks()
            || self.ledger.is_dirty()
            || self.lane.is_dirty()
            || !self.outbox.dead_letters.is_empty()
            || !self.outbox.handled_dead_letters.is_empty()
    }

    /// Returns whether a commit would change the stored state.
    pub(crate) fn has_news(&self) -> bool {
        self.is_urgent()
            || self.live.done() > 0
            || self.answers > 0
            || self.ledger.has_empty()
            || self.would_move()
    }

    fn would_move(&self) -> bool {
        self.live.cursor() > self.kept_cursor
            || (self.live.claimed() + self.live.unclaimed() == 0 && self.live.read_to() > self.kept_cursor)
    }

    /// Builds the next commit. With `by_force`, it settles all done entries and moves the open entries before them to
    /// the ledger.
    pub(crate) fn commit(&mut self, by_force: bool, at: &mut StepContext<'_>) -> SegmentCommit {
        let by_force = by_force || std::mem::take(&mut self.must_pass);
        let leaving: Vec<Leaving> = self.live.settle(by_force);
        for key in leaving {
            self.ledger.admit(key, at);
        }
        self.answers = 0;
        let cursor = self.live.cursor();
        let mut commit = SegmentCommit::new(self.lease.clone(), cursor, self.claim(cursor));
        (commit.blocked, commit.unblocked) = self.ledger.collect(cursor);
        (commit.lane, commit.lane_done) = self.lane.collect();
        commit.dead_letters = std::mem::take(&mut self.outbox.dead_letters);
        commit.handled_dead_letters = std::mem::take(&mut self.outbox.handled_dead_letters);
        commit
    }

    fn claim(&self, cursor: u64) -> u64 {
        // A delivery that awaits isolation and is not yet read must still await it under the next lease.
        let unread = if self.live.read_to() < self.isolate_to { self.isolate_to } else { 0 };
        self.live.asked().max(cursor).max(unread)
    }

    /// Builds the last commit, which releases the segment. Only deliveries that await isolation stay claimed. No
    /// handler runs.
    pub(crate) fn last_commit(&mut self, rules: &Rules, now: Timestamp) -> SegmentCommit {
        // Deliveries have stopped, so the effects are dropped.
        let mut nowhere = StepContext::new(rules, now);
        for key in self.live.settle(true) {
            self.ledger.admit(Leaving { handed: false, ..key }, &mut nowhere);
        }
        self.ledger.unclaim();
        self.lane.unclaim();
        let mut commit = self.commit(false, &mut nowhere);
        let unread = if self.live.read_to() < self.isolate_to { self.isolate_to } else { 0 };
        commit.claimed_to = commit.cursor.max(unread);
        commit.release = true;
        commit
    }

    /// Applies a commit that the store accepted.
    pub(crate) fn committed(&mut self, commit: &SegmentCommit, at: &mut StepContext<'_>) {
        self.kept_cursor = commit.cursor;
        for (key, stored) in self.live.claimed_to(commit.claimed_to) {
            at.effects.work.push(live_work(key, stored, at.rules));
        }
        self.ledger.committed(&commit.blocked, at);
        self.lane.committed(&commit.lane, at);
    }
}

fn live_work(key: Key, stored: StoredEvent, rules: &Rules) -> super::work::Work {
    super::work::Work {
        source: DeliverySource::Live { seq: stored.position.sequence, key },
        origin: domain::DeliveryOrigin::Live,
        attempt: 1,
        is_last_attempt: rules.max_attempts(&stored.event) == 1,
        waiting_since: None,
        stored,
    }
}
