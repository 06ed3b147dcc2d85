//! Records the deliveries to handlers and their answers, in order. The figures of deliveries are compared with this
//! record.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use event_replay::{
    DeliveryOrigin, Position,
    domain::ports::{DeliveryOutcome, ReplayDelivery, ReplayTarget, TargetError},
    prelude::*,
};

/// Returns a pseudo-random number for a text. Equal arguments give equal numbers.
pub(crate) fn drawn(seed: u64, text: &str) -> u64 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash >> 16
}

/// The answer of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Handled,
    /// The attempt failed, and a retry follows.
    Failed,
    /// The last attempt failed.
    GaveUp,
}

/// One attempt and its answer.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) group: String,
    pub(crate) id: String,
    /// An id can be used again after its event was trimmed. A position is never used again.
    pub(crate) position: Position,
    pub(crate) event_type: String,
    pub(crate) user: Option<String>,
    pub(crate) origin: DeliveryOrigin,
    pub(crate) attempt: u32,
    pub(crate) answer: Answer,
}

impl Seen {
    pub(crate) fn is_live(&self) -> bool {
        self.origin == DeliveryOrigin::Live
    }

    pub(crate) fn replay(&self) -> Option<&str> {
        match &self.origin {
            DeliveryOrigin::Replay { replay_id } => Some(replay_id),
            _ => None,
        }
    }

    pub(crate) fn is_redrive(&self) -> bool {
        matches!(self.origin, DeliveryOrigin::Redrive { .. })
    }
}

/// All deliveries to the handlers of all groups.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) seen: Mutex<Vec<Seen>>,
    /// Replayed events with the answers of targets: replay, event, answer.
    pub(crate) targets: Mutex<Vec<(String, Position, DeliveryOutcome)>>,
}

impl Recorder {
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn targets(&self) -> Vec<(String, Position, DeliveryOutcome)> {
        self.targets.lock().unwrap().clone()
    }

    /// Returns the events that a replay delivered to a group, each with its last answer.
    pub(crate) fn replayed(&self, replay: &str, group: &str) -> BTreeMap<Position, Answer> {
        let seen = self.seen.lock().unwrap();
        let of = seen.iter().filter(|seen| seen.group == group && seen.replay() == Some(replay));
        of.map(|seen| (seen.position, seen.answer)).collect()
    }

    /// Returns the events that a group has finished in live deliveries.
    pub(crate) fn finished(&self, group: &str) -> BTreeSet<Position> {
        let seen = self.seen.lock().unwrap();
        let done =
            seen.iter().filter(|seen| seen.group == group && seen.is_live() && seen.answer != Answer::Failed);
        done.map(|seen| seen.position).collect()
    }
}

/// A handler with pseudo-random answers, which depend on the delivery.
pub(crate) struct Drawn {
    pub(crate) seed: u64,
    pub(crate) takes_replays: bool,
    pub(crate) recorder: Arc<Recorder>,
}

impl Drawn {
    fn answer(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let id = delivery.stored.event.id();
        let draw = drawn(self.seed, &format!("{}/{id}", delivery.group));
        match &delivery.origin {
            DeliveryOrigin::Live => match draw % 12 {
                0 => Err(HandlerError::retry_after(Duration::from_secs(3600), "not before an hour")),
                1 => Err(HandlerError::give_up("never")),
                2 if delivery.attempt == 1 => Err(HandlerError::retry("not at once")),
                3 => Err(HandlerError::retry("the mail server refuses user 17")),
                _ => Ok(()),
            },
            DeliveryOrigin::Replay { replay_id } => match drawn(draw, replay_id) % 8 {
                0 => Err(HandlerError::give_up("not in a replay")),
                1 if delivery.attempt == 1 => Err(HandlerError::retry("not at once")),
                _ => Ok(()),
            },
            DeliveryOrigin::Redrive { .. } => {
                let seen = self.recorder.seen.lock().unwrap();
                let before = seen.iter().filter(|seen| seen.is_redrive() && seen.id == id).count();
                match drawn(draw, &before.to_string()) % 3 {
                    0 => Err(HandlerError::retry("not by a redrive either")),
                    _ => Ok(()),
                }
            }
        }
    }
}

#[async_trait]
impl EventHandler for Drawn {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let event = &delivery.stored.event;
        if drawn(self.seed.wrapping_mul(3), event.id()).is_multiple_of(12) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let said = self.answer(delivery);
        let is_redrive = matches!(delivery.origin, DeliveryOrigin::Redrive { .. });
        let answer = match &said {
            Ok(()) => Answer::Handled,
            Err(error) if error.verdict == event_replay::domain::delivery::Verdict::GiveUp => Answer::GaveUp,
            Err(_) if delivery.is_last_attempt || is_redrive => Answer::GaveUp,
            Err(_) => Answer::Failed,
        };
        self.recorder.seen.lock().unwrap().push(Seen {
            group: delivery.group.clone(),
            id: event.id().to_owned(),
            position: delivery.stored.position,
            event_type: event.event_type().to_owned(),
            user: event.entities().find(|(kind, _)| *kind == "user").map(|(_, id)| id.to_owned()),
            origin: delivery.origin.clone(),
            attempt: delivery.attempt,
            answer,
        });
        said
    }

    fn takes_replays(&self) -> bool {
        self.takes_replays
    }
}

/// A target with pseudo-random answers.
pub(crate) struct DrawnTarget {
    pub(crate) seed: u64,
    pub(crate) recorder: Arc<Recorder>,
}

#[async_trait]
impl ReplayTarget for DrawnTarget {
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError> {
        let outcomes: Vec<DeliveryOutcome> = batch
            .iter()
            .map(|delivery| match drawn(self.seed, delivery.stored.event.id()) % 7 {
                0 => DeliveryOutcome::Failed("no".to_owned()),
                1 => DeliveryOutcome::Skipped,
                _ => DeliveryOutcome::Handled,
            })
            .collect();
        let mut targets = self.recorder.targets.lock().unwrap();
        for (delivery, outcome) in batch.iter().zip(&outcomes) {
            targets.push((delivery.replay_id.clone(), delivery.stored.position, outcome.clone()));
        }
        Ok(outcomes)
    }
}
