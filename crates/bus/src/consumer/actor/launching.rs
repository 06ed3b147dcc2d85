//! Starts deliveries up to the concurrency of the settings, and records their results.

use std::{sync::Arc, time::Duration};

use domain::{Delivery, DeliveryOrigin, StoredEvent, time::later};
use jiff::Timestamp;
use tokio::{
    task::{Id, JoinError},
    time::Instant,
};

use super::{Actor, COMMIT_WITHIN, Isolation, OPEN, Running};
use crate::consumer::{
    breaker::Permit,
    handing::{Handed, hand_over},
    ready::Ready,
    rules::HandlerOutcome,
    segment::{Segment, Settled},
    work::{DeliveryId, Work},
};

impl Actor {
    pub(super) fn unsettled(&self) -> usize {
        self.committing_answers + self.segments.values().map(Segment::unsettled).sum::<usize>()
    }

    pub(super) fn launch(&mut self, now: Instant) {
        if now >= self.lease_good_until {
            // The store was unreachable for a full lease time. Other consumers may work on these segments now.
            return;
        }
        if let Isolation::Exclusive { .. } = self.isolation {
            while let Some(Ready { unit, work, .. }) = self.isolated.pop() {
                if self.segment_of(&unit).is_some_and(|segment| !segment.leaving) {
                    self.hand(unit, work, true);
                }
            }
        }
        if !matches!(self.isolation, Isolation::Shared) {
            return;
        }
        let most = match self.permit() {
            Permit::Nothing => return,
            Permit::One => 1,
            Permit::All => self.settings.concurrency,
        };
        let mut free = OPEN.saturating_sub(self.unsettled() + self.tasks.len());
        while free > 0 && self.tasks.len() < most {
            let Some(Ready { unit, work, .. }) = self.ready.pop() else { return };
            if self.segment_of(&unit).is_some_and(|segment| !segment.leaving) {
                free -= 1;
                self.hand(unit, work, false);
            }
        }
    }

    pub(super) fn hand(&mut self, unit: DeliveryId, work: Work, alone: bool) {
        let now = self.now();
        if work.origin == DeliveryOrigin::Live && work.stored.event.options().is_expired(now) {
            self.tally.expired(&work.stored.event, now);
            self.settle(&unit, &work.stored, &work.origin, HandlerOutcome::Expired, Duration::ZERO, now);
            return;
        }
        self.breaker.handed();
        self.tally.delivered(now);
        let delivery = Delivery {
            group: self.rules.spec.name.clone(),
            attempt: work.attempt,
            is_last_attempt: work.is_last_attempt,
            origin: work.origin.clone(),
            delivered_at: now,
            deadline: later(now, self.settings.timeout),
            stored: work.stored.clone(),
        };
        let abort = self.tasks.spawn(hand_over(Arc::clone(&self.handling), delivery, alone));
        let Work { stored, origin, attempt, .. } = work;
        let running = Running { unit, stored, origin, attempt, abort: abort.clone() };
        self.running.insert(abort.id(), running);
    }

    pub(super) fn handed(&mut self, done: Result<(Id, Handed), JoinError>) {
        let (id, handed) = match done {
            Ok((id, handed)) => (id, Some(handed)),
            // Panics of handlers are caught in the task. A task ends early only if it was aborted.
            Err(error) => (error.id(), None),
        };
        let Some(running) = self.running.remove(&id) else { return };
        if let Some(Handed { answer, took }) = handed {
            let now = self.now();
            self.note_answer(&answer, running.attempt);
            self.tally.attempted(&running.stored.event, &answer, took, now);
            self.settle(&running.unit, &running.stored, &running.origin, answer, took, now);
        }
        self.activate_leases();
    }

    pub(super) fn settle(
        &mut self,
        unit: &DeliveryId,
        stored: &StoredEvent,
        origin: &DeliveryOrigin,
        answer: HandlerOutcome,
        took: Duration,
        now: Timestamp,
    ) {
        let Some(segment) = self.segment_of(unit) else { return };
        let was_isolated = segment.needs_isolation(&unit.source);
        self.tally.answered(&stored.event, &answer, took, now);
        let settled =
            self.with_at(now, unit.segment, |segment, at| segment.answered(&unit.source, stored, answer, at));
        self.tally.settled(settled.unwrap_or(Settled::Stale), origin, now);
        if was_isolated {
            self.clear_isolation(unit.segment);
        }
        self.commit_due.get_or_insert_with(|| Instant::now() + COMMIT_WITHIN);
    }
}
