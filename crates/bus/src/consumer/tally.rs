//! Counts the work of a group.

use std::time::Duration;

use domain::{DeliveryOrigin, Event, stats as names};
use jiff::Timestamp;
use stats::{Deliveries, Meter};

use super::{rules::HandlerOutcome, segment::Settled};

/// The counters of one group. Each count takes the time of the delivery's step, which needs the clock anyway.
pub(crate) struct Tally {
    meter: Meter,
    group: String,
    deliveries: Deliveries,
}

impl Tally {
    pub(crate) fn new(meter: Meter, group: String) -> Self {
        let deliveries = Deliveries::new(&group);
        Self { meter, group, deliveries }
    }

    fn count(&self, name: &'static str, now: Timestamp) {
        self.meter.count_at(now, name, &self.group);
    }

    pub(crate) fn delivered(&self, now: Timestamp) {
        self.count(names::DELIVERED, now);
    }

    pub(crate) fn expired(&self, event: &Event, now: Timestamp) {
        self.count(names::EXPIRED, now);
        self.deliveries.expired(event.event_type(), now);
    }

    /// Records an attempt of the handlers for the recorder of this process.
    pub(crate) fn attempted(&self, event: &Event, answer: &HandlerOutcome, took: Duration, now: Timestamp) {
        self.deliveries.attempt(event.event_type(), answer.name(), now, took);
    }

    /// Counts an answer that belongs to a lease of this consumer.
    pub(crate) fn answered(&self, event: &Event, answer: &HandlerOutcome, took: Duration, now: Timestamp) {
        match answer {
            HandlerOutcome::Handled => self.meter.time_at(now, names::HANDLED, event.event_type(), took),
            HandlerOutcome::Failed(_) => {
                self.meter.time_at(now, names::FAILED_ATTEMPTS, event.event_type(), took);
            }
            HandlerOutcome::Skipped | HandlerOutcome::Expired => {}
        }
    }

    pub(crate) fn settled(&self, settled: Settled, origin: &DeliveryOrigin, now: Timestamp) {
        match settled {
            Settled::Again => self.count(names::RETRIED, now),
            Settled::DeadLettered => self.count(names::DEAD_LETTERED, now),
            Settled::Dropped => self.count(names::DROPPED, now),
            Settled::Done | Settled::Skipped | Settled::Stale => {}
        }
        match (origin, settled) {
            (DeliveryOrigin::Replay { .. }, Settled::Done) => self.count(names::REPLAY_HANDLED, now),
            (DeliveryOrigin::Replay { .. }, Settled::Skipped) => self.count(names::REPLAY_SKIPPED, now),
            (DeliveryOrigin::Replay { .. }, Settled::DeadLettered | Settled::Dropped) => {
                self.count(names::REPLAY_FAILED, now);
            }
            (DeliveryOrigin::Redrive { .. }, Settled::Done | Settled::Skipped) => {
                self.count(names::DEAD_LETTERS_CLOSED, now);
            }
            _ => {}
        }
    }
}
