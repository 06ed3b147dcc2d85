//! The queries of the demo and their expected answers. The answers are counted on the generated lines before storage,
//! by code without filters and indexes.

use std::borrow::Cow;

use domain::{Entity, Filter, TypePattern};
use jiff::Timestamp;
use serde::Deserialize;

/// The members of a generated event that the counting reads.
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

/// A query for a slice of history.
pub(super) struct Question {
    /// The flags of `list` for the query.
    pub(super) flags: &'static str,
    /// The same query as a filter.
    pub(super) filter: Filter,
    /// Events that the query must find.
    pub(super) expected: u64,
    asks_for: fn(&Seen<'_>) -> bool,
}

/// Returns the queries: by workflow, by user, and by type and time.
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

/// Counts a valid line for every query that it matches. Returns false if the line cannot be parsed.
pub(super) fn count(questions: &mut [Question], json: &str) -> bool {
    let Ok(event) = serde_json::from_str::<Seen<'_>>(json) else { return false };
    for question in questions {
        question.expected += u64::from((question.asks_for)(&event));
    }
    true
}
