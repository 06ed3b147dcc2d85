//! Pages of stored events. They are written in pieces, so that memory never holds a large page twice.

use domain::{Cursor, StoredEvent};

use crate::app::trace::EventFacts;

/// Returns the text before an event of a page: the start of the document, or a comma.
pub fn event_page_separator(is_first: bool) -> &'static [u8] {
    if is_first { b"{\"events\":[\n" } else { b",\n" }
}

/// Returns the text after the last event of a page: the cursor of the next page and a line feed.
pub fn event_page_end(is_empty: bool, next: Option<&Cursor>) -> String {
    let start = if is_empty { "{\"events\":[" } else { "\n" };
    let cursor = next.map_or_else(|| "null".to_owned(), |next| format!("\"{next}\""));
    format!("{start}],\"nextCursor\":{cursor}}}\n")
}

/// Returns a stored event with its cause, effects, deliveries and replays, as one JSON object.
pub fn event_with_facts(stored: &StoredEvent, facts: &EventFacts) -> Vec<u8> {
    let mut text = Vec::new();
    targets::write_stored(stored, &mut text);
    // The facts contain only numbers, texts and lists, which serialise without errors.
    let facts = serde_json::to_string(facts).unwrap_or_else(|_| "{}".to_owned());
    let mut beside = Vec::new();
    targets::push_safe_json(&facts, &mut beside);
    // Merges the two objects into one.
    text.pop();
    text.push(b',');
    text.extend_from_slice(beside.get(1..).unwrap_or_default());
    text
}

/// Returns events that were selected by ids as one document with a line feed. Each event has the form of
/// [`event_with_facts`].
pub fn event_list(events: &[StoredEvent], facts: &[EventFacts]) -> Vec<u8> {
    let mut text = b"{\"events\":[".to_vec();
    for (at, (stored, facts)) in events.iter().zip(facts).enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&event_with_facts(stored, facts));
    }
    text.extend_from_slice(b"]}\n");
    text
}
