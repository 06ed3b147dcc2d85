//! The parsing of names of events, groups and entities. A name that no event or group can have is refused. Otherwise a
//! search for it would silently find nothing.

use domain::{
    Entity, Priority,
    group::{GroupKey, MAX_SEGMENTS},
};

use super::escape;

/// Checks a name or an id of an envelope.
///
/// # Errors
/// Returns the reason when the text is empty or contains NUL.
pub fn name(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("it is empty; names and ids have 1 to 128 bytes".to_owned()),
        _ if text.contains('\0') => Err("it contains a NUL character, which no event's name can".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

/// Parses an entity in the form `KIND=ID`.
///
/// # Errors
/// Returns a sentence with the valid form when the text is not an entity.
pub fn entity(text: &str) -> Result<Entity, String> {
    let teach =
        || format!("{:?} is no entity: write KIND=ID, as user=user-123 or payment=pay-7", escape::line(text));
    let (kind, id) = text.split_once('=').ok_or_else(teach)?;
    if kind.is_empty() || id.is_empty() {
        return Err(teach());
    }
    name(kind)?;
    name(id)?;
    Ok(Entity::new(kind, id))
}

/// Checks the name of a group, 1 to 128 bytes.
///
/// # Errors
/// Returns the violated rule when the name is not valid.
pub fn group(text: &str) -> Result<String, String> {
    match text.len() {
        1..=128 if text.contains('\0') => Err("a group's name has no NUL character".to_owned()),
        1..=128 => Ok(text.to_owned()),
        _ => Err("a group's name has 1 to 128 bytes".to_owned()),
    }
}

/// Parses the ordering key of a group: `event`, `correlation`, `all` or `entity:KIND`.
///
/// # Errors
/// Returns a sentence with the valid forms when the text is not a key.
pub fn group_key(text: &str) -> Result<GroupKey, String> {
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

/// Returns the ordering key of a group in the form that [`group_key`] parses.
pub fn group_key_text(key: &GroupKey) -> String {
    match key {
        GroupKey::Event => "event".to_owned(),
        GroupKey::Correlation => "correlation".to_owned(),
        GroupKey::All => "all".to_owned(),
        GroupKey::Entity(kind) => format!("entity:{kind}"),
    }
}

/// The names of the priorities, lowest first.
pub const PRIORITIES: [(&str, Priority); 4] = [
    ("low", Priority::Low),
    ("medium", Priority::Medium),
    ("high", Priority::High),
    ("critical", Priority::Critical),
];

/// Parses the number of segments of a group.
///
/// # Errors
/// Returns a sentence with the range when the text is not a number from 1 to [`MAX_SEGMENTS`].
pub fn segments(text: &str) -> Result<u16, String> {
    match text.parse::<u16>() {
        Ok(number @ 1..=MAX_SEGMENTS) => Ok(number),
        _ => Err(format!("a number of segments is a whole number from 1 to {MAX_SEGMENTS}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_split_at_the_first_equals_sign() {
        assert_eq!(entity("user=a=b"), Ok(Entity::new("user", "a=b")));
        for text in ["user", "=x", "user=", "user=a\0b"] {
            assert!(entity(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_key_is_written_as_it_is_read() {
        for text in ["event", "correlation", "all", "entity:user", "entity:a:b"] {
            assert_eq!(group_key_text(&group_key(text).unwrap()), text);
        }
        for text in ["", "user", "entity:", "EVENT"] {
            assert!(group_key(text).is_err(), "{text}");
        }
        assert!(segments("0").is_err() && segments("1025").is_err());
    }
}
