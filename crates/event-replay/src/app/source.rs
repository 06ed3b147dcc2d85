//! Adds the source of the publisher to events that have none, before any other step.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// Returns the event with a `source` if it is an object without one. Returns `None` for every other text. The admission
/// then accepts or refuses the original text.
///
/// The same event and service give the same bytes, so the store recognises a repeated publication.
pub fn with_source(event: &[u8], service: &str) -> Option<Vec<u8>> {
    let text = event.trim_ascii();
    let members: BTreeMap<String, &RawValue> = serde_json::from_slice(text).ok()?;
    if members.is_empty() || members.contains_key("source") || members.contains_key("event") {
        return None;
    }
    let source = serde_json::to_string(service).ok()?;
    let mut named = format!("{{\"source\":{source},").into_bytes();
    named.extend_from_slice(text.get(1..)?);
    Some(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_event_without_a_source_gets_one() {
        assert_eq!(
            with_source(b" {\"id\":\"e\"}\r", "s\"x").unwrap(),
            b"{\"source\":\"s\\\"x\",\"id\":\"e\"}"
        );
        for text in ["{\"source\":null}", "{}", "[]", "{", "", "{\"event\":{},\"position\":\"0:1\"}"] {
            assert_eq!(with_source(text.as_bytes(), "s"), None, "{text}");
        }
    }
}
