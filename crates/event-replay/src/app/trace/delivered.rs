//! What each group has done with the events of a trace.

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

/// What a group has done with an event, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryWord {
    /// It is still to be handed over.
    Waiting,
    /// It may be with a handler now.
    InFlight,
    /// Its last attempt failed, and it is to be tried again.
    Retrying,
    /// It waits behind an earlier event of its key.
    Blocked,
    /// It was handled, at once or by a redrive.
    Handled,
    /// The group is done with it, and it cannot be told how: it may have expired before it could be handed over, or it may have
    /// been given up on while dead letters were off.
    Passed,
    /// The group gave up on it: it is an open dead letter.
    DeadLetter,
    /// It is a dead letter that is on its way to the group again.
    Redriving,
    /// It was a dead letter, and was discarded.
    Discarded,
    /// The group does not deliver it.
    Skipped,
}

/// What a group has done with an event.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupDelivery {
    /// The group.
    pub group: String,
    /// What it has done, in a word.
    pub state: DeliveryWord,
    /// Attempts that have failed, where it is tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// When it is tried next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// What the last attempt said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The event that it waits behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<Position>,
    /// Whether it waits behind a dead letter.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub parked: bool,
    /// Why the group does not deliver it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<SkipReason>,
    /// Its dead letter, if the group ever gave up on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<LetterFacts>,
}

/// A dead letter in short.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LetterFacts {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: DeadLetterState,
    /// How often the event was tried.
    pub attempts: u32,
    /// What the last attempt said first.
    pub error: String,
    /// When the group first gave up on it.
    pub created_at: Timestamp,
}

/// What one group has done with each of several events.
pub(super) struct Deliveries {
    group: String,
    /// Whether the group ever gave up on a delivery while dead letters were off.
    has_dropped: bool,
    events: Vec<(Position, bool, EventDelivery)>,
}

/// What each group has done with events, by the names of the groups.
pub(super) async fn deliveries(
    store: &StoreHandle,
    events: &[StoredEvent],
) -> Result<Vec<Deliveries>, AppError> {
    let samples = store.stats(None).await?;
    let mut all = Vec::new();
    for record in store.groups().await? {
        let group = record.spec.name;
        // One that was deleted meanwhile has nothing to say.
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
    /// What the group has done with one of the events.
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
        // A replay may have brought the event to the group all the same.
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
