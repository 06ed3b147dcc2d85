//! Claims and commits: their content and their time.

use std::sync::Arc;

use domain::{
    group::Lease,
    ports::{CommitOutcome, GroupStoreError, SegmentCommit},
};
use tokio::time::Instant;

use super::{
    Actor, ConsumerError, FETCH_BELOW, Io, Isolation, OPEN, QUIET_COMMIT, STUCK_AFTER, outage::Call,
};
use crate::consumer::{breaker::Permit, segment::Segment};

/// The number of answers at which a commit no longer waits for more answers.
const COMMIT_AT: usize = OPEN / 2;
/// The claims that live deliveries may always have, even during a large replay.
const LIVE_SHARE: usize = 60;

impl Actor {
    pub(super) fn commit(&mut self, now: Instant) {
        self.claim();
        if self.committing {
            return;
        }
        if let Some((again, mut commits)) = self.commit_again.take() {
            if again > now {
                self.commit_again = Some((again, commits));
                return;
            }
            // Commits of segments that were lost meanwhile are dropped, so that the other segments need not wait.
            commits.retain(|commit| self.holds(&commit.lease));
            if !commits.is_empty() {
                self.send(commits);
                return;
            }
        }
        let late = self.commit_due.is_some_and(|due| due <= now);
        let quiet = self.quiet_commit <= now;
        let idle = self.tasks.is_empty() && self.ready.is_empty() && self.commit_due.is_some();
        let all = late || quiet || idle || self.unsettled() >= COMMIT_AT;
        let gives_back = self.gives_back();
        if !all && gives_back.is_empty() && !self.segments.values().any(Segment::is_urgent) {
            return;
        }
        if quiet {
            self.quiet_commit = now + QUIET_COMMIT;
        }
        // Without force, answers behind a slow delivery would never be settled, and each commit would repeat.
        let by_force = late || idle || self.unsettled() >= COMMIT_AT;
        let commits = self.build(all, by_force, &gives_back);
        if self.segments.values().all(|segment| segment.unsettled() == 0) {
            self.commit_due = None;
        }
        if !commits.is_empty() {
            self.send(commits);
        }
    }

    /// Builds the next commits. With `all`, every segment with changes commits. Otherwise only the urgent segments
    /// commit.
    pub(super) fn build(&mut self, all: bool, by_force: bool, gives_back: &[u16]) -> Vec<SegmentCommit> {
        let at = self.now();
        let mut commits = Vec::new();
        let numbers: Vec<u16> = self.segments.keys().copied().collect();
        for number in numbers {
            let Some(segment) = self.segments.get_mut(&number) else { continue };
            if gives_back.contains(&number) {
                commits.push(segment.last_commit(&self.rules, at));
            } else if segment.is_urgent() || all && segment.has_news() {
                let before = segment.unsettled();
                commits.extend(self.with(number, |segment, at| segment.commit(by_force, at)));
                let after = self.segments.get(&number).map_or(0, Segment::unsettled);
                self.committing_answers += before.saturating_sub(after);
            }
        }
        commits
    }

    /// Returns whether handlers are free but have no deliveries, because all fetched events wait behind slow
    /// deliveries.
    pub(super) fn is_clogged(&mut self, now: Instant) -> bool {
        let is_idle =
            self.ready.is_empty() && !self.tasks.is_empty() && self.tasks.len() < self.settings.concurrency;
        // The sums over all segments are last, because this runs after each delivery.
        let is_stuck = is_idle
            && (self.staying().map(|segment| segment.unclaimed().0).sum::<usize>() >= FETCH_BELOW
                || self.staying().map(Segment::claimed).sum::<usize>() >= COMMIT_AT);
        if !is_stuck {
            self.stuck_since = None;
            return false;
        }
        now >= *self.stuck_since.get_or_insert(now) + STUCK_AFTER
    }

    /// Moves keys with a slow first delivery to the ledger, with all events that wait behind it.
    pub(super) fn spill_slow_keys(&mut self, now: Instant) {
        if !self.is_clogged(now) {
            return;
        }
        self.stuck_since = None;
        let numbers: Vec<u16> = self.segments.keys().copied().collect();
        for number in numbers {
            self.with(number, |segment, at| segment.spill_slow_keys(at));
        }
    }

    /// Returns the segments that are not about to be released. Segments that leave start no more deliveries.
    pub(super) fn staying(&self) -> impl Iterator<Item = &Segment> {
        self.segments.values().filter(|segment| !segment.leaving)
    }

    /// Requests claims when the number of claimed deliveries is low.
    pub(super) fn claim(&mut self) {
        if self.committing || self.commit_again.is_some() || !matches!(self.isolation, Isolation::Shared) {
            return;
        }
        // A claimed delivery counts as in flight at a crash, so a paused consumer claims none.
        if self.permit() == Permit::Nothing {
            return;
        }
        let claimed: usize = self.staying().map(Segment::claimed).sum();
        if claimed >= COMMIT_AT {
            return;
        }
        let budget = OPEN - claimed;
        let (mut waiting, mut in_lanes) = (0, 0);
        for (live, lane) in self.staying().map(Segment::unclaimed) {
            waiting += live;
            in_lanes += lane;
        }
        let mut live = waiting.min(budget.saturating_sub(in_lanes).max(LIVE_SHARE.min(budget)));
        let mut lane = in_lanes.min(budget - live);
        // Another segment starts each time, so that no segment is always served first.
        self.turn = self.turn.wrapping_add(1);
        let numbers: Vec<u16> = self.segments.keys().copied().collect();
        let begin = usize::from(self.turn) % numbers.len().max(1);
        for number in numbers.iter().cycle().skip(begin).take(numbers.len()) {
            if let Some(segment) = self.segments.get_mut(number).filter(|segment| !segment.leaving) {
                live -= segment.ask_live(live);
                lane -= segment.ask_lane(lane);
            }
        }
    }

    /// Returns the segments that must be released and of which no delivery is with a handler.
    pub(super) fn gives_back(&self) -> Vec<u16> {
        let is_free = |number: u16| !self.running.values().any(|running| running.unit.segment == number);
        let leaving = self.segments.iter().filter(|(_, segment)| segment.leaving);
        leaving.map(|(number, _)| *number).filter(|number| is_free(*number)).collect()
    }

    pub(super) fn send(&mut self, commits: Vec<SegmentCommit>) {
        self.committing = true;
        self.asking(Call::Commit);
        let store = Arc::clone(&self.shared.store);
        self.io.spawn(async move {
            let outcome = store.commit(&commits).await;
            Io::Committed(commits, outcome)
        });
    }

    pub(super) fn committed(
        &mut self,
        commits: Vec<SegmentCommit>,
        outcome: Result<Vec<CommitOutcome>, GroupStoreError>,
    ) {
        self.committing = false;
        let outcomes = match outcome {
            Ok(outcomes) => outcomes,
            Err(GroupStoreError::NoGroup(name)) => {
                self.ended = Some(ConsumerError::GroupDeleted(name));
                return;
            }
            Err(error) => {
                let pause = self.fault(Call::Commit, &error);
                self.commit_again = Some((Instant::now() + pause, commits));
                return;
            }
        };
        self.answered_by_store(Call::Commit);
        self.faults = 0;
        self.committing_answers = 0;
        for (commit, outcome) in commits.iter().zip(outcomes) {
            let number = commit.lease.segment;
            match outcome {
                _ if !self.holds(&commit.lease) => {}
                CommitOutcome::Fenced => self.on_lease_lost(number),
                _ if commit.release => {
                    self.segments.remove(&number);
                    self.clear_isolation(number);
                }
                kept => {
                    self.with(number, |segment, at| {
                        if let CommitOutcome::CommittedWithout(withdrawn) = kept {
                            segment.withdraw(&withdrawn, at);
                        }
                        segment.committed(commit, at);
                    });
                }
            }
        }
    }

    fn holds(&self, lease: &Lease) -> bool {
        self.segments.get(&lease.segment).is_some_and(|segment| segment.lease == *lease)
    }

    /// Removes a segment that another consumer has taken over, and aborts its running handlers.
    pub(super) fn on_lease_lost(&mut self, number: u16) {
        tracing::info!(group = %self.rules.spec.name, segment = number, "the segment was taken over");
        self.segments.remove(&number);
        for running in self.running.values().filter(|running| running.unit.segment == number) {
            running.abort.abort();
        }
        self.clear_isolation(number);
    }
}
