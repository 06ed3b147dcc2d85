//! Settings: flag, then environment, then `event-replay.toml`, then default; each knows where it came from.

mod event_store;
pub(crate) mod keys;
pub(crate) mod layers;
mod redis;

use std::{
    fmt::Display,
    path::{Path, PathBuf},
    time::Duration,
};

use bus::UnknownTypes;
use config::{Map, Value, ValueKind};
use domain::{Limits, OrderingRule, RetentionRule, TypePattern, ports::GroupHolds};
use validation::EngineKind;

use self::keys::{KEYS, RETENTION_BOUNDS};
pub(crate) use self::{
    event_store::EventStoreSetting,
    redis::{RedisSettings, partitions},
};
use crate::{args::number, errors::CliError, output::escape, store::StoreLocation};

/// A setting as `config show` prints it.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Its dotted name.
    pub(crate) key: String,
    /// Its value, with any password hidden; none: unset.
    pub(crate) value: Option<String>,
    /// Where it came from.
    pub(crate) origin: String,
}

/// Everything that is set.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where the store is.
    pub(crate) store: StoreLocation,
    /// How to reach a Redis server.
    pub(crate) redis: RedisSettings,
    /// The name of the service that publishes.
    pub(crate) service: Option<String>,
    /// Where to look for an event's ordering key.
    pub(crate) ordering: OrderingRule,
    /// Whether events are checked against schemas.
    pub(crate) validation: bool,
    /// What checks them.
    pub(crate) engine: EngineKind,
    /// What becomes of types without a schema.
    pub(crate) unknown_types: UnknownTypes,
    /// Limits of the envelope.
    pub(crate) limits: Limits,
    /// What is dropped after an append.
    pub(crate) retention: Vec<RetentionRule>,
    /// How far consumer groups keep history from retention.
    pub(crate) holds: GroupHolds,
    /// How often a delivery is tried again.
    pub(crate) max_retries: u32,
    /// How long a handler may take.
    pub(crate) handler_timeout: Duration,
    /// Whether published events are kept.
    pub(crate) event_store: EventStoreSetting,
    /// Whether deliveries that a group gives up on are kept as dead letters.
    pub(crate) dead_letters: bool,
    /// All of them, for people.
    pub(crate) shown: Vec<Shown>,
}

/// A value on its way from text to meaning.
struct Raw {
    text: Option<String>,
    list: Vec<String>,
    origin: String,
}

impl Settings {
    /// Reads all layers.
    pub(crate) fn load(store_flag: Option<&str>, file: Option<&Path>) -> Result<Self, CliError> {
        let tree = layers::tree(store_flag, file)?;
        refuse_unknown(&tree)?;
        let store =
            raw(&tree, "store")?.pair().map(|(address, origin)| (anchored(&address, &origin), origin));
        let store = StoreLocation::resolve(&store)?;
        let mut retention = Vec::from_iter(rule(&tree, "retention", vec![])?);
        for pattern in type_patterns(&tree) {
            let path = format!("retention.types.{pattern}");
            retention.extend(rule(&tree, &path, vec![TypePattern::new(&pattern)])?);
        }
        let limits = Limits {
            max_event_bytes: required(&tree, "limits.max_event_bytes", size)?,
            max_depth: required(&tree, "limits.max_depth", positive)?.min(128),
            max_name_bytes: required(&tree, "limits.max_name_bytes", positive)?,
            max_ahead: required(&tree, "limits.max_ahead", number::duration)?,
        };
        let ordering = OrderingRule { members: raw(&tree, "ordering")?.list };
        Ok(Self {
            shown: show(&tree, &store)?,
            store,
            redis: RedisSettings::read(&tree)?,
            service: raw(&tree, "service")?.text,
            ordering,
            validation: required(&tree, "validation.enabled", boolean)?,
            engine: required(&tree, "validation.engine", engine)?,
            unknown_types: required(&tree, "validation.unknown_types", unknown_types)?,
            limits,
            retention,
            holds: GroupHolds {
                forgotten_after: required(&tree, "retention.forgotten_after", number::duration)?,
                max_hold: optional(&tree, "retention.max_hold", number::duration)?,
            },
            max_retries: required(&tree, "retries.max", number::retries)?,
            handler_timeout: required(&tree, "handlers.timeout", timeout)?,
            event_store: EventStoreSetting::new(
                required(&tree, "event_store.enabled", boolean)?,
                raw(&tree, "event_store.enabled")?.origin,
            ),
            dead_letters: required(&tree, "dead_letters.enabled", boolean)?,
        })
    }
}

impl Raw {
    fn pair(&self) -> Option<(String, String)> {
        self.text.clone().map(|text| (text, self.origin.clone()))
    }
}

/// A file's path that a settings file names is meant from where the settings file is.
fn anchored(address: &str, origin: &str) -> String {
    let Some(path) = address.strip_prefix("sqlite:") else { return address.to_owned() };
    let path = path.strip_prefix("//").unwrap_or(path);
    format!("sqlite:{}", anchored_path(path, origin).display())
}

fn anchored_path(path: &str, origin: &str) -> PathBuf {
    match Path::new(origin).parent() {
        Some(folder) if Path::new(origin).is_file() => folder.join(path),
        _ => PathBuf::from(path),
    }
}

fn find<'a>(tree: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = tree.get(*first)?;
    match (&value.kind, rest) {
        (ValueKind::Nil, _) => None,
        (_, []) => Some(value),
        (ValueKind::Table(table), rest) => find(table, rest),
        _ => None,
    }
}

/// A path's parts. A type pattern has dots of its own, so it is one part.
fn parts(name: &str) -> Vec<&str> {
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

fn raw(tree: &Map<String, Value>, name: &str) -> Result<Raw, CliError> {
    let Some(value) = find(tree, &parts(name)) else {
        return Ok(Raw { text: None, list: vec![], origin: layers::DEFAULT.to_owned() });
    };
    let origin = value.origin().unwrap_or("settings file").to_owned();
    let wrong =
        |_| CliError::usage(format!("the setting {name} (from {origin}) has a value of the wrong kind"));
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

fn optional<T>(
    tree: &Map<String, Value>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, CliError> {
    let raw = raw(tree, name)?;
    let Some(text) = &raw.text else { return Ok(None) };
    parse(text).map(Some).map_err(|error| {
        let shown = escape::short(text, 60);
        CliError::usage(format!("the setting {name} (from {}) is {shown:?}: {error}", raw.origin))
    })
}

fn required<T>(
    tree: &Map<String, Value>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<T, CliError> {
    optional(tree, name, parse)?.ok_or_else(|| CliError::usage(format!("the setting {name} has no value")))
}

fn rule(
    tree: &Map<String, Value>,
    path: &str,
    types: Vec<TypePattern>,
) -> Result<Option<RetentionRule>, CliError> {
    let rule = RetentionRule {
        types,
        max_age: optional(tree, &format!("{path}.max_age"), number::duration)?,
        max_events: optional(tree, &format!("{path}.max_events"), count)?,
        max_bytes: optional(tree, &format!("{path}.max_bytes"), number::bytes)?,
        through: None,
    };
    Ok((!rule.is_empty()).then_some(rule))
}

fn type_patterns(tree: &Map<String, Value>) -> Vec<String> {
    match find(tree, &["retention", "types"]).map(|value| &value.kind) {
        Some(ValueKind::Table(table)) => {
            let mut patterns: Vec<String> = table.keys().cloned().collect();
            patterns.sort();
            patterns
        }
        _ => vec![],
    }
}

/// A misspelt setting that is silently ignored is worse than none.
fn refuse_unknown(tree: &Map<String, Value>) -> Result<(), CliError> {
    fn walk(table: &Map<String, Value>, prefix: &str, unknown: &mut Vec<(String, String)>) {
        for (name, value) in table {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            let known = KEYS.iter().any(|key| key.name == path)
                || path
                    .strip_prefix("retention.types.")
                    .and_then(|rest| rest.rsplit_once('.'))
                    .is_some_and(|(_, bound)| RETENTION_BOUNDS.contains(&bound));
            match &value.kind {
                ValueKind::Table(inner) if !known => walk(inner, &path, unknown),
                _ if known => {}
                _ => unknown.push((path, value.origin().unwrap_or("settings file").to_owned())),
            }
        }
    }
    let mut unknown = vec![];
    walk(tree, "", &mut unknown);
    unknown.sort();
    match unknown.first() {
        None => Ok(()),
        Some((path, origin)) => {
            Err(CliError::usage(format!("{origin}: there is no setting {:?}", escape::line(path)))
                .hint("`event-replay config show` lists every setting"))
        }
    }
}

fn show(tree: &Map<String, Value>, store: &StoreLocation) -> Result<Vec<Shown>, CliError> {
    let mut shown = vec![];
    let mut names: Vec<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
    for pattern in type_patterns(tree) {
        names.extend(RETENTION_BOUNDS.iter().map(|bound| format!("retention.types.{pattern}.{bound}")));
    }
    for name in names {
        let raw = raw(tree, &name)?;
        if raw.text.is_none() && name.starts_with("retention.types.") {
            continue;
        }
        let value = match name.as_str() {
            // An address may hold a password: it is shown as the location shows itself.
            "store" => Some(store.to_string()),
            "redis.password" | "redis.sentinel_password" => raw.text.map(|_| "***".to_owned()),
            _ => raw.text,
        };
        shown.push(Shown { key: name, value, origin: raw.origin });
    }
    Ok(shown)
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}

/// A handler's time: a bare number is in milliseconds, as programs that were set up before know it.
fn timeout(text: &str) -> Result<Duration, String> {
    match number::delay(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        _ => {
            Err("a timeout is a number of milliseconds (30000), or a number with a unit (30s, 2m), at most \
                  one day"
                .to_owned())
        }
    }
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "it is a whole number from 1".to_owned())
}

fn count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it is a whole number of events".to_owned())
}

fn size(text: &str) -> Result<usize, String> {
    let bytes = number::bytes(text)?;
    usize::try_from(bytes)
        .ok()
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| "it is a size from 1 byte".to_owned())
}

fn engine(text: &str) -> Result<EngineKind, String> {
    text.parse().map_err(|error: validation::engine::UnknownEngine| error.to_string())
}

/// Reads what becomes of types without a schema.
pub(crate) fn unknown_types(text: &str) -> Result<UnknownTypes, String> {
    match text {
        "refuse" => Ok(UnknownTypes::Refuse),
        "accept" => Ok(UnknownTypes::Accept),
        _ => Err("it is `refuse` or `accept`".to_owned()),
    }
}

impl Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.value.as_deref().unwrap_or("unset"), self.origin)
    }
}
