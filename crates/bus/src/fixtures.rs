//! Events and deliveries for unit tests.

use domain::{Delivery, DeliveryOrigin, Document, Limits, Position, StoredEvent};
use jiff::Timestamp;

/// Returns an event at this sequence.
pub(crate) fn stored(seq: u64) -> StoredEvent {
    let json = format!(
        r#"{{"id":"e{seq}","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}}}}"#
    );
    StoredEvent {
        event: Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap(),
        position: Position::new(0, seq),
        stored_at: Timestamp::UNIX_EPOCH,
        replay_count: 0,
        last_replay_at: None,
    }
}

/// Returns the first delivery of an event, with 30 seconds of time.
pub(crate) fn delivery(seq: u64) -> Delivery {
    Delivery {
        stored: stored(seq),
        group: "g".to_owned(),
        attempt: 1,
        is_last_attempt: false,
        origin: DeliveryOrigin::Live,
        delivered_at: Timestamp::UNIX_EPOCH,
        deadline: Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(30),
    }
}
