//! The selection of a replay's events, written as flags.

use replay::ReplaySummary;
use serde_json::{Map, Value};

/// Ids that are listed. Further ids are counted.
const NAMED_IDS: usize = 3;
/// The parts of a filter in the order of the output.
const ORDER: [&str; 7] = ["types", "sources", "correlationIds", "entities", "eventIds", "from", "to"];

/// Describes the selection of a replay's events.
pub(super) fn which(replay: &ReplaySummary) -> String {
    let none = Map::new();
    let mut flags = flags(replay.filter.as_object().unwrap_or(&none));
    let begin = match (&replay.checkpoint, &replay.after) {
        (Some(name), _) => format!("recover {}", word(name)),
        (None, Some(_)) => "events after a place in the log".to_owned(),
        (None, None) if flags.is_empty() => "all".to_owned(),
        (None, None) => String::new(),
    };
    if let Some(limit) = replay.limit {
        flags = format!("{flags} --limit {limit}").trim_start().to_owned();
    }
    [begin, flags].iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(" ")
}

/// Returns the flags that describe a filter.
fn flags(filter: &Map<String, Value>) -> String {
    let mut flags = Vec::new();
    let others = filter.keys().map(String::as_str).filter(|name| !ORDER.contains(name));
    for name in ORDER.iter().copied().chain(others) {
        let Some(value) = filter.get(name) else { continue };
        match name {
            "types" => each("--type", value, &mut flags),
            "sources" => each("--source", value, &mut flags),
            "correlationIds" => each("--correlation-id", value, &mut flags),
            "eventIds" => some_ids(value, &mut flags),
            "entities" => entities(value, &mut flags),
            other => each(&format!("--{other}"), value, &mut flags),
        }
    }
    flags.join(" ")
}

fn each(flag: &str, value: &Value, flags: &mut Vec<String>) {
    flags.extend(texts(value).into_iter().map(|text| format!("{flag} {}", word(&text))));
}

fn some_ids(value: &Value, flags: &mut Vec<String>) {
    let ids = texts(value);
    flags.extend(ids.iter().take(NAMED_IDS).map(|id| format!("--event-id {}", word(id))));
    if let Some(more @ 1..) = ids.len().checked_sub(NAMED_IDS) {
        flags.push(format!("(and {more} more ids)"));
    }
}

fn entities(value: &Value, flags: &mut Vec<String>) {
    for (kind, ids) in value.as_object().into_iter().flatten() {
        for id in texts(ids) {
            flags.push(match kind.as_str() {
                "user" | "course" | "lab" => format!("--{kind}-id {}", word(&id)),
                _ => format!("--entity {}", word(&format!("{kind}={id}"))),
            });
        }
    }
}

/// Returns the texts of a list or of a single value.
fn texts(value: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => vec![text(value)],
    }
}

/// Quotes a value for a shell.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@=+,".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_said_in_the_words_of_the_flags() {
        let said = |filter: Value| flags(filter.as_object().unwrap());
        assert_eq!(said(json!({})), "");
        assert_eq!(
            said(json!({"types": ["user.*"], "from": "2024-01-01T00:00:00Z"})),
            "--type 'user.*' --from 2024-01-01T00:00:00Z"
        );
        assert_eq!(
            said(json!({"entities": {"payment": ["p 1"], "user": ["u-1", "u-2"]}})),
            "--entity 'payment=p 1' --user-id u-1 --user-id u-2"
        );
        assert_eq!(said(json!({"where": "data.name == 'x'"})), r"--where 'data.name == '\''x'\'''");
        assert_eq!(
            said(json!({"eventIds": ["a", "b", "c", "d", "e"]})),
            "--event-id a --event-id b --event-id c (and 2 more ids)"
        );
    }
}
