//! Counts the work of a group.

use std::time::Duration;

use domain::{DeliveryOrigin, Event, stats as names};
use stats::Meter;

use super::{rules::HandlerOutcome, segment::Settled};

/// The counters of one group.
#[derive(Clone)]
pub(crate) struct Tally {
    meter: Meter,
    group: String,
}

impl Tally {
    pub(crate) fn new(meter: Meter, group: String) -> Self {
        Self { meter, group }
    }

    fn count(&self, name: &'static str) {
        self.meter.count(name, &self.group, 1);
    }

    pub(crate) fn delivered(&self) {
        self.count(names::DELIVERED);
    }

    pub(crate) fn expired(&self, event: &Event) {
        self.count(names::EXPIRED);
        stats::expired(&self.group, event.event_type());
    }

    pub(crate) fn answered(&self, event: &Event, answer: &HandlerOutcome, took: Duration) {
        match answer {
            HandlerOutcome::Handled => self.meter.time(names::HANDLED, event.event_type(), took),
            HandlerOutcome::Failed(_) => self.meter.time(names::FAILED_ATTEMPTS, event.event_type(), took),
            HandlerOutcome::Skipped | HandlerOutcome::Expired => {}
        }
    }

    pub(crate) fn settled(&self, settled: Settled, origin: &DeliveryOrigin) {
        match settled {
            Settled::Again => self.count(names::RETRIED),
            Settled::DeadLettered => self.count(names::DEAD_LETTERED),
            Settled::Dropped => self.count(names::DROPPED),
            Settled::Done | Settled::Skipped | Settled::Stale => {}
        }
        match (origin, settled) {
            (DeliveryOrigin::Replay { .. }, Settled::Done) => self.count(names::REPLAY_HANDLED),
            (DeliveryOrigin::Replay { .. }, Settled::Skipped) => self.count(names::REPLAY_SKIPPED),
            (DeliveryOrigin::Replay { .. }, Settled::DeadLettered | Settled::Dropped) => {
                self.count(names::REPLAY_FAILED);
            }
            (DeliveryOrigin::Redrive { .. }, Settled::Done | Settled::Skipped) => {
                self.count(names::DEAD_LETTERS_CLOSED);
            }
            _ => {}
        }
    }
}
