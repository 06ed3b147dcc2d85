//! Deliveries for tests.
#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod server;

use std::time::Duration;

use domain::{
    Document, Limits, Position, StoredEvent,
    delivery::{Delivery, DeliveryOrigin},
    ports::ReplayDelivery,
};
use jiff::{SignedDuration, Timestamp};

/// A stored event of a user. Its id is first in its text, where scripts find it.
pub(crate) fn stored(id: &str, user: &str, sequence: u64, padding: usize) -> StoredEvent {
    let text = "x".repeat(padding);
    let json = format!(
        r#"{{"id":"{id}","type":"user.registered","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}},"userId":"{user}","data":{{"text":"{text}"}}}}"#
    );
    StoredEvent {
        event: Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap(),
        position: Position::new(0, sequence),
        stored_at: "2024-01-15T10:31:00Z".parse().unwrap(),
        replay_count: 2,
        last_replay_at: None,
    }
}

/// A live delivery to the group `g`, at its first attempt.
pub(crate) fn delivery(id: &str, timeout: Duration) -> Delivery {
    let delivered_at = Timestamp::now();
    Delivery {
        stored: stored(id, "u1", 17, 0),
        group: "g".to_owned(),
        attempt: 1,
        is_last_attempt: false,
        origin: DeliveryOrigin::Live,
        delivered_at,
        deadline: delivered_at + SignedDuration::try_from(timeout).unwrap(),
    }
}

/// A batch of a replay from pairs of an id and a user.
pub(crate) fn batch<'a>(events: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<ReplayDelivery> {
    let replayed = |(sequence, (id, user)): (usize, (&str, &str))| ReplayDelivery {
        stored: stored(id, user, sequence as u64, 0),
        replay_id: "r1".to_owned(),
        replay_timestamp: "2024-02-01T00:00:00Z".parse().unwrap(),
    };
    events.into_iter().enumerate().map(replayed).collect()
}
