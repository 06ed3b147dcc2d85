//! The tree of all layers, and the parsing of its values.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bus::UnknownTypes;
use config::{Map, Value, ValueKind};
use validation::EngineKind;

use super::{error::SettingsError, keys::RETENTION_BOUNDS, origin};
use crate::text::{escape, number};

/// A value before it is parsed.
pub(super) struct Raw {
    pub(super) text: Option<String>,
    pub(super) list: Vec<String>,
    pub(super) origin: String,
}

impl Raw {
    pub(super) fn pair(&self) -> Option<(String, String)> {
        self.text.clone().map(|text| (text, self.origin.clone()))
    }
}

/// Resolves a path from a settings file against the folder of that file.
pub(super) fn anchored_path(path: impl Into<PathBuf>, origin: &str) -> PathBuf {
    let path = path.into();
    match Path::new(origin).parent() {
        Some(folder) if Path::new(origin).is_file() => folder.join(path),
        _ => path,
    }
}

pub(super) fn find<'a>(tree: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = tree.get(*first)?;
    match (&value.kind, rest) {
        (ValueKind::Nil, _) => None,
        (_, []) => Some(value),
        (ValueKind::Table(table), rest) => find(table, rest),
        _ => None,
    }
}

/// Splits a setting's name into its parts. A type pattern contains dots, but it is one part.
pub(super) fn parts(name: &str) -> Vec<&str> {
    match name.strip_prefix("retention.types.") {
        None => name.split('.').collect(),
        Some(rest) => match rest.rsplit_once('.') {
            Some((pattern, bound)) if RETENTION_BOUNDS.contains(&bound) => {
                vec!["retention", "types", pattern, bound]
            }
            _ => vec!["retention", "types", rest],
        },
    }
}

pub(super) fn raw(tree: &Map<String, Value>, name: &str) -> Result<Raw, SettingsError> {
    let Some(value) = find(tree, &parts(name)) else {
        return Ok(Raw { text: None, list: vec![], origin: origin::DEFAULT.to_owned() });
    };
    let origin = value.origin().unwrap_or("settings file").to_owned();
    let wrong = |_| {
        SettingsError::invalid(format!("the setting {name} (from {origin}) has a value of the wrong kind"))
    };
    let list: Vec<String> = match &value.kind {
        ValueKind::Array(values) => {
            values.iter().map(|value| value.clone().into_string()).collect::<Result<_, _>>().map_err(wrong)?
        }
        _ => {
            let text = value.clone().into_string().map_err(wrong)?;
            text.split(',').map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
        }
    };
    let text = match &value.kind {
        ValueKind::Array(_) => list.join(", "),
        _ => value.clone().into_string().map_err(wrong)?,
    };
    Ok(Raw { text: Some(text), list, origin })
}

pub(super) fn optional<T>(
    tree: &Map<String, Value>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, SettingsError> {
    let raw = raw(tree, name)?;
    let Some(text) = &raw.text else { return Ok(None) };
    parse(text).map(Some).map_err(|error| {
        let shown = escape::short(text, 60);
        SettingsError::invalid(format!("the setting {name} (from {}) is {shown:?}: {error}", raw.origin))
    })
}

pub(super) fn required<T>(
    tree: &Map<String, Value>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, SettingsError> {
    optional(tree, name, parse)?
        .ok_or_else(|| SettingsError::invalid(format!("the setting {name} has no value")))
}

pub(super) fn type_patterns(tree: &Map<String, Value>) -> Vec<String> {
    match find(tree, &["retention", "types"]).map(|value| &value.kind) {
        Some(ValueKind::Table(table)) => {
            let mut patterns: Vec<String> = table.keys().cloned().collect();
            patterns.sort();
            patterns
        }
        _ => vec![],
    }
}

pub(super) fn boolean(text: &str) -> Result<bool, String> {
    number::boolean(text).ok_or_else(|| "it is true or false".to_owned())
}

/// Parses the time limit of a handler. A number without a unit is in milliseconds, for compatibility with older
/// configurations.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    number::timeout(text).ok_or_else(|| {
        "a timeout is a number of milliseconds (30000), or a number with a unit (30s, 2m), at most one day"
            .to_owned()
    })
}

/// Parses the number of failures that open a circuit breaker.
pub(super) fn breaker_failures(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "it is a whole number from 1".to_owned())
}

/// Parses a time of a circuit breaker. It must be longer than zero.
pub(super) fn breaker_time(text: &str) -> Result<Duration, String> {
    number::duration(text).and_then(|time| match time.is_zero() {
        true => Err("it is longer than no time".to_owned()),
        false => Ok(time),
    })
}

pub(super) fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "it is a whole number from 1".to_owned())
}

/// The JSON parser accepts at most this depth.
const DEEPEST: usize = 128;

pub(super) fn depth(text: &str) -> Result<usize, String> {
    let depth = text.parse().ok().filter(|depth| (1..=DEEPEST).contains(depth));
    depth.ok_or_else(|| format!("it is a whole number from 1 to {DEEPEST}"))
}

pub(super) fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it is a whole number of events".to_owned())
}

pub(super) fn size(text: &str) -> Result<usize, String> {
    let bytes = number::bytes(text)?;
    usize::try_from(bytes)
        .ok()
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| "it is a size from 1 byte".to_owned())
}

pub(super) fn engine(text: &str) -> Result<EngineKind, String> {
    text.parse().map_err(|error: validation::engine::UnknownEngine| error.to_string())
}

/// Parses the treatment of event types without a schema: `refuse` or `accept`.
pub fn unknown_types(text: &str) -> Result<UnknownTypes, String> {
    match text {
        "refuse" => Ok(UnknownTypes::Refuse),
        "accept" => Ok(UnknownTypes::Accept),
        _ => Err("it is `refuse` or `accept`".to_owned()),
    }
}
