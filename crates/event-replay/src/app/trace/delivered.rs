//! The deliveries of traced events to each group.

use domain::{
    DeadLetter, DeadLetterState, Position, StoredEvent,
    group::{DeliveryState, EventDelivery, SkipReason},
    stats::DROPPED,
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    app::{dead_letters::newest_error, error::AppError},
    handle::StoreHandle,
};

/// The state of a delivery, as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryWord {
    /// The delivery has not started.
    Waiting,
    /// A handler may have the event now.
    InFlight,
    /// The last attempt failed, and a retry follows.
    Retrying,
    /// An earlier event of the key blocks the event.
    Blocked,
    /// The event was handled, directly or after a redrive.
    Handled,
    /// The group has finished the event, but its outcome is unknown. Either the event expired before its delivery, or
    /// the group gave up on it without a dead letter.
    Passed,
    /// The group gave up on the event, and its dead letter is open.
    DeadLetter,
    /// The dead letter of the event is redriven now.
    Redriving,
    /// The dead letter of the event was discarded.
    Discarded,
    /// The group does not deliver the event.
    Skipped,
}

/// The delivery of an event to a group.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupDelivery {
    /// The name of the group.
    pub group: String,
    /// The state, as one word.
    pub state: DeliveryWord,
    /// The number of failed attempts, if a retry follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The time of the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The error of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The position of the event that blocks this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<Position>,
    /// Whether the key is parked behind a dead letter.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub parked: bool,
    /// The reason for which the group does not deliver the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<SkipReason>,
    /// The dead letter, if the group ever gave up on the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<LetterFacts>,
}

/// A summary of a dead letter.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LetterFacts {
    /// The id of the dead letter.
    pub id: String,
    /// The state of the dead letter.
    pub state: DeadLetterState,
    /// The number of attempts.
    pub attempts: u32,
    /// The first error of the last attempt.
    pub error: String,
    /// The time at which the group first gave up.
    pub created_at: Timestamp,
}

/// The deliveries of several events to one group.
pub(super) struct Deliveries {
    group: String,
    /// Whether the group ever gave up on a delivery while dead letters were off.
    has_dropped: bool,
    events: Vec<(Position, bool, EventDelivery)>,
}

/// Returns the deliveries of events to each group, by the names of the groups.
pub(super) async fn deliveries(
    store: &StoreHandle,
    events: &[StoredEvent],
) -> Result<Vec<Deliveries>, AppError> {
    let samples = store.stats(None).await?;
    let mut all = Vec::new();
    for record in store.groups().await? {
        let group = record.spec.name;
        // A group that was deleted during the call is left out.
        let Some(found) = store.deliveries(&group, events).await? else { continue };
        let expires = |stored: &StoredEvent| stored.event.options().expires_at.is_some();
        let of_events = events.iter().zip(found);
        let of_events = of_events.map(|(stored, found)| (stored.position, expires(stored), found)).collect();
        let has_dropped = samples.iter().any(|sample| sample.name == DROPPED && sample.label == group);
        all.push(Deliveries { group, has_dropped, events: of_events });
    }
    Ok(all)
}

impl Deliveries {
    /// Returns the delivery of one of the events.
    pub(super) fn of(&self, event: usize) -> Option<GroupDelivery> {
        let (position, expires, found) = self.events.get(event)?;
        let letter = found.dead_letter.as_ref();
        let mut delivery = GroupDelivery {
            group: self.group.clone(),
            state: word(found, *expires || self.has_dropped),
            attempts: None,
            due: None,
            error: None,
            behind: None,
            parked: false,
            reason: None,
            dead_letter: letter.map(facts),
        };
        match &found.state {
            DeliveryState::Retrying { attempts, due, error } => {
                delivery.attempts = Some(*attempts);
                delivery.due = Some(*due);
                delivery.error = Some(error.clone());
            }
            DeliveryState::InFlight { attempts } => delivery.attempts = Some(*attempts),
            DeliveryState::Blocked { behind, parked, .. } => {
                delivery.behind = Some(Position::new(position.partition, *behind));
                delivery.parked = *parked;
            }
            DeliveryState::Skipped { reason } => delivery.reason = Some(*reason),
            DeliveryState::Waiting | DeliveryState::Done => {}
        }
        Some(delivery)
    }
}

fn word(found: &EventDelivery, is_uncertain: bool) -> DeliveryWord {
    let letter = found.dead_letter.as_ref().map(|letter| letter.state);
    match (&found.state, letter) {
        (DeliveryState::Waiting, _) => DeliveryWord::Waiting,
        (DeliveryState::InFlight { .. }, _) => DeliveryWord::InFlight,
        (DeliveryState::Retrying { .. }, _) => DeliveryWord::Retrying,
        (DeliveryState::Blocked { .. }, _) => DeliveryWord::Blocked,
        // The dead letter takes precedence over a skip: a replay may have delivered the event to the group.
        (_, Some(DeadLetterState::Open)) => DeliveryWord::DeadLetter,
        (_, Some(DeadLetterState::Redriving)) => DeliveryWord::Redriving,
        (_, Some(DeadLetterState::Discarded)) => DeliveryWord::Discarded,
        (_, Some(DeadLetterState::Handled)) => DeliveryWord::Handled,
        (DeliveryState::Skipped { .. }, None) => DeliveryWord::Skipped,
        (DeliveryState::Done, None) if is_uncertain => DeliveryWord::Passed,
        (DeliveryState::Done, None) => DeliveryWord::Handled,
    }
}

fn facts(letter: &DeadLetter) -> LetterFacts {
    LetterFacts {
        id: letter.id.clone(),
        state: letter.state,
        attempts: letter.attempts,
        error: newest_error(letter).to_owned(),
        created_at: letter.created_at,
    }
}
