//! Handing deliveries over, as many at once as the settings say, and noting what came of them.

use std::{sync::Arc, time::Duration};

use domain::{Delivery, DeliveryOrigin, StoredEvent, time::later};
use tokio::{
    task::{Id, JoinError},
    time::Instant,
};

use super::{Actor, COMMIT_WITHIN, OPEN, Room, Running};
use crate::consumer::{
    handing::{Handed, hand_over},
    ready::Ready,
    rules::Answer,
    segment::{Segment, Settled},
    work::{Unit, Work},
};

impl Actor {
    pub(super) fn unsettled(&self) -> usize {
        self.committing_answers + self.segments.values().map(Segment::unsettled).sum::<usize>()
    }

    pub(super) fn launch(&mut self) {
        if Instant::now() >= self.lease_good_until {
            // The store could not be reached for so long that others may work on these segments by now.
            return;
        }
        if let Room::Empty { .. } = self.room {
            while let Some(Ready { unit, work, .. }) = self.accused.pop() {
                if self.segment_of(&unit).is_some_and(|segment| !segment.leaving) {
                    self.hand(unit, work, true);
                }
            }
        }
        if !matches!(self.room, Room::Open) {
            return;
        }
        let mut free = OPEN.saturating_sub(self.unsettled() + self.tasks.len());
        while free > 0 && self.tasks.len() < self.settings.concurrency {
            let Some(Ready { unit, work, .. }) = self.ready.pop() else { return };
            if self.segment_of(&unit).is_some_and(|segment| !segment.leaving) {
                free -= 1;
                self.hand(unit, work, false);
            }
        }
    }

    pub(super) fn hand(&mut self, unit: Unit, work: Work, alone: bool) {
        let now = self.now();
        if work.origin == DeliveryOrigin::Live && work.stored.event.options().is_expired(now) {
            self.tally.expired();
            self.settle(&unit, &work.stored, &work.origin, Answer::Expired, Duration::ZERO);
            return;
        }
        self.tally.delivered();
        let delivery = Delivery {
            group: self.rules.spec.name.clone(),
            attempt: work.attempt,
            is_last_attempt: work.is_last_attempt,
            origin: work.origin.clone(),
            delivered_at: now,
            deadline: later(now, self.settings.timeout),
            stored: work.stored.clone(),
        };
        let room = Arc::clone(&self.shared.room);
        let handing = hand_over(self.router.clone(), delivery, self.settings.timeout, room, alone);
        let abort = self.tasks.spawn(handing);
        let running = Running { unit, stored: work.stored, origin: work.origin, abort: abort.clone() };
        self.running.insert(abort.id(), running);
    }

    pub(super) fn handed(&mut self, done: Result<(Id, Handed), JoinError>) {
        let (id, handed) = match done {
            Ok((id, handed)) => (id, Some(handed)),
            // Handlers' panics are caught within; a task ends early only when it was told to.
            Err(error) => (error.id(), None),
        };
        let Some(running) = self.running.remove(&id) else { return };
        if let Some(Handed { answer, took }) = handed {
            self.settle(&running.unit, &running.stored, &running.origin, answer, took);
        }
        self.arrive();
    }

    pub(super) fn settle(
        &mut self,
        unit: &Unit,
        stored: &StoredEvent,
        origin: &DeliveryOrigin,
        answer: Answer,
        took: Duration,
    ) {
        let Some(segment) = self.segment_of(unit) else { return };
        let was_suspect = segment.is_suspect(&unit.way);
        self.tally.answered(&stored.event, &answer, took);
        let settled = self.with(unit.segment, |segment, at| segment.answered(&unit.way, stored, answer, at));
        self.tally.settled(settled.unwrap_or(Settled::Stale), origin);
        if was_suspect {
            self.acquit(unit.segment);
        }
        self.commit_due.get_or_insert_with(|| Instant::now() + COMMIT_WITHIN);
    }
}
