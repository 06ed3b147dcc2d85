//! Pages of stored events. They are written piece by piece, because a page may be larger than memory should hold twice.

use domain::{Cursor, StoredEvent};

use crate::app::trace::EventFacts;

/// The text before an event of a page: the document's beginning, or a comma.
pub fn event_page_separator(is_first: bool) -> &'static [u8] {
    if is_first { b"{\"events\":[\n" } else { b",\n" }
}

/// The text after the last event of a page: the cursor of the next page, and the line's end.
pub fn event_page_end(is_empty: bool, next: Option<&Cursor>) -> String {
    let start = if is_empty { "{\"events\":[" } else { "\n" };
    let cursor = next.map_or_else(|| "null".to_owned(), |next| format!("\"{next}\""));
    format!("{start}],\"nextCursor\":{cursor}}}\n")
}

/// A stored event with its cause, effects, deliveries and replays, as one JSON object.
pub fn event_with_facts(stored: &StoredEvent, facts: &EventFacts) -> Vec<u8> {
    let mut text = Vec::new();
    targets::write_stored(stored, &mut text);
    // Numbers, texts and lists of these: they can always be written.
    let facts = serde_json::to_string(facts).unwrap_or_else(|_| "{}".to_owned());
    let mut beside = Vec::new();
    targets::push_safe_json(&facts, &mut beside);
    // Two objects become one.
    text.pop();
    text.push(b',');
    text.extend_from_slice(beside.get(1..).unwrap_or_default());
    text
}

/// Events that were asked for by their ids, each as [`event_with_facts`] writes it, as one document with the line's end.
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
