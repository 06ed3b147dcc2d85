//! What the demo asks the store, and what it must answer: counted on the generated lines before they are stored, by
//! code that knows neither filters nor indexes.

use std::borrow::Cow;

use domain::{Entity, Filter, TypePattern};
use jiff::Timestamp;
use serde::Deserialize;

/// What counting needs of a generated event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen<'a> {
    #[serde(borrow, rename = "type")]
    event_type: Cow<'a, str>,
    timestamp: Timestamp,
    correlation_id: Option<String>,
    user_id: Option<String>,
}

/// The third week of January 2024, Monday to Sunday.
const WEEK: (Timestamp, Timestamp) =
    (Timestamp::constant(1_705_276_800, 0), Timestamp::constant(1_705_881_599, 0));

/// A slice of history to be found.
pub(super) struct Question {
    /// The flags of `list` that ask for it.
    pub(super) flags: &'static str,
    /// The same as a filter.
    pub(super) filter: Filter,
    /// How many events there must be.
    pub(super) expected: u64,
    asks_for: fn(&Seen<'_>) -> bool,
}

/// By workflow, by user, and by type and time.
pub(super) fn all() -> Vec<Question> {
    let question = |flags, filter, asks_for| Question { flags, filter, expected: 0, asks_for };
    vec![
        question(
            "--correlation-id workflow-payment-123",
            Filter::correlation("workflow-payment-123"),
            |event| event.correlation_id.as_deref() == Some("workflow-payment-123"),
        ),
        question("--user-id user-123", Filter::of_entity(Entity::new("user", "user-123")), |event| {
            event.user_id.as_deref() == Some("user-123")
        }),
        question(
            "--type 'course.*' --from 2024-01-15T00:00:00Z --to 2024-01-21T23:59:59Z",
            Filter {
                types: vec![TypePattern::new("course.*")],
                from: Some(WEEK.0),
                to: Some(WEEK.1),
                ..Filter::default()
            },
            |event| {
                event.event_type.starts_with("course.")
                    && WEEK.0 <= event.timestamp
                    && event.timestamp <= WEEK.1
            },
        ),
    ]
}

/// Counts a valid line for the questions that ask for it. False where it cannot be read.
pub(super) fn count(questions: &mut [Question], json: &str) -> bool {
    let Ok(event) = serde_json::from_str::<Seen<'_>>(json) else { return false };
    for question in questions {
        question.expected += u64::from((question.asks_for)(&event));
    }
    true
}
