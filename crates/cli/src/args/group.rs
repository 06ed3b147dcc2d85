//! What flags say of consumer groups.

use domain::group::{GroupKey, MAX_SEGMENTS};

/// A group's name, 1 to 128 bytes.
pub(crate) fn name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=128 if text.contains('\0') => Err("a group's name has no NUL character".to_owned()),
        1..=128 => Ok(text.to_owned()),
        _ => Err("a group's name has 1 to 128 bytes".to_owned()),
    }
}

/// What keeps a group's order.
pub(crate) fn key(text: &str) -> Result<GroupKey, String> {
    match text {
        "event" => Ok(GroupKey::Event),
        "correlation" => Ok(GroupKey::Correlation),
        "all" => Ok(GroupKey::All),
        _ => match text.strip_prefix("entity:") {
            Some(kind) if !kind.is_empty() => Ok(GroupKey::Entity(kind.to_owned())),
            _ => Err("a key is event, correlation, all or entity:KIND, such as entity:user".to_owned()),
        },
    }
}

/// How a key is written on the command line.
pub(crate) fn key_text(key: &GroupKey) -> String {
    match key {
        GroupKey::Event => "event".to_owned(),
        GroupKey::Correlation => "correlation".to_owned(),
        GroupKey::All => "all".to_owned(),
        GroupKey::Entity(kind) => format!("entity:{kind}"),
    }
}

/// How many segments a group has.
pub(crate) fn segments(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(number @ 1..=MAX_SEGMENTS) => Ok(number),
        _ => Err(format!("a number of segments is a whole number from 1 to {MAX_SEGMENTS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_it_is_read() {
        for text in ["event", "correlation", "all", "entity:user", "entity:a:b"] {
            assert_eq!(key_text(&key(text).unwrap()), text);
        }
        for text in ["", "user", "entity:", "EVENT"] {
            assert!(key(text).is_err(), "{text}");
        }
        assert!(segments("0").is_err() && segments("1025").is_err());
    }
}
