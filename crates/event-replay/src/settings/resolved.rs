//! Settings, from highest to lowest precedence: flag, environment, `event-replay.toml`, default. Each value has its
//! origin.

use std::{fmt, path::Path, time::Duration};

use bus::{BreakerSettings, UnknownTypes};
use config::{Map, Value, ValueKind};
use domain::{Limits, OrderingRule, RetentionRule, TypePattern, ports::GroupHolds};
use validation::EngineKind;

use super::{
    error::SettingsError,
    event_store::EventStoreSetting,
    keys::{KEYS, RETENTION_BOUNDS},
    layers,
    origin::CONTEXT,
    plans::PlanSettings,
    redis::RedisSettings,
    store_location::StoreLocation,
    upcasters::UpcasterFolder,
    values::{
        boolean, breaker_failures, breaker_time, count, depth, engine, optional, positive, raw, required,
        size, timeout, type_patterns, unknown_types,
    },
};
use crate::{
    location::Location,
    options::{OpenOptions, RedisAccess},
    text::{escape, number},
};

/// A setting as `config show` prints it.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its dotted name.
    pub key: String,
    /// Its value, with any password hidden. `None`: unset.
    pub value: Option<String>,
    /// The origin of the value.
    pub origin: String,
}

/// The settings from flags.
#[derive(Debug, Clone, Copy, Default)]
pub struct SettingsRequest<'a> {
    /// The address of the store.
    pub store: Option<&'a str>,
    /// The name of a context.
    pub context: Option<&'a str>,
    /// The path of the settings file.
    pub file: Option<&'a Path>,
}

/// All settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The location of the store.
    pub store: StoreLocation,
    /// The context that names the store, if the location comes from a context.
    pub context: Option<String>,
    /// Credentials and options for a Redis server, apart from its address.
    pub redis: RedisSettings,
    /// The name of the service that publishes.
    pub service: Option<String>,
    /// The rule that finds the ordering key of an event.
    pub ordering: OrderingRule,
    /// Whether events are validated by schemas.
    pub validation: bool,
    /// The engine that validates them.
    pub engine: EngineKind,
    /// The treatment of event types without a schema.
    pub unknown_types: UnknownTypes,
    /// The limits of the envelope.
    pub limits: Limits,
    /// The retention rules, applied after an append.
    pub retention: Vec<RetentionRule>,
    /// The rules by which consumer groups hold history against retention.
    pub holds: GroupHolds,
    /// The folder of the upcasters.
    pub upcasters: UpcasterFolder,
    /// The settings of kept plans, and of the replays that need an approval.
    pub plans: PlanSettings,
    /// The number of retries of a delivery.
    pub max_retries: u32,
    /// The time limit of a handler.
    pub handler_timeout: Duration,
    /// The circuit breaker: a consumer pauses its deliveries after many consecutive failures. `None`: it never pauses.
    pub breaker: Option<BreakerSettings>,
    /// Whether published events are kept.
    pub event_store: EventStoreSetting,
    /// Whether deliveries that a group gives up on are kept as dead letters.
    pub dead_letters: bool,
    /// All settings, as `config show` prints them.
    pub shown: Vec<Shown>,
}

impl Settings {
    /// Reads and merges all layers.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when a layer cannot be read, or when a setting is not valid.
    pub fn load(store_flag: Option<&str>, file: Option<&Path>) -> Result<Self, SettingsError> {
        Self::resolve(SettingsRequest { store: store_flag, context: None, file })
    }

    /// Reads and merges all layers, with the given flags.
    ///
    /// # Errors
    /// The same errors as [`Settings::load`]. Also returns [`SettingsError`] when the context of a flag does not exist.
    pub fn resolve(request: SettingsRequest<'_>) -> Result<Self, SettingsError> {
        Self::of(&layers::tree(request)?)
    }

    /// Returns the defaults, with a store in memory. Use it for commands that need no store and no setting.
    ///
    /// # Errors
    /// Returns no error in practice: the defaults are valid.
    pub fn defaults() -> Result<Self, SettingsError> {
        Self::of(&layers::default_tree()?)
    }

    fn of(tree: &Map<String, Value>) -> Result<Self, SettingsError> {
        refuse_unknown(tree)?;
        let store = raw(tree, "store")?.pair();
        let store = StoreLocation::resolve(store.as_ref())?;
        let mut retention = Vec::from_iter(rule(tree, "retention", vec![])?);
        for pattern in type_patterns(tree) {
            let path = format!("retention.types.{pattern}");
            retention.extend(rule(tree, &path, vec![TypePattern::new(&pattern)])?);
        }
        let limits = Limits {
            max_event_bytes: required(tree, "limits.max_event_bytes", size)?,
            max_depth: required(tree, "limits.max_depth", depth)?,
            max_name_bytes: required(tree, "limits.max_name_bytes", positive)?,
            max_ahead: required(tree, "limits.max_ahead", number::duration)?,
        };
        let ordering = OrderingRule { members: raw(tree, "ordering")?.list };
        Ok(Self {
            shown: show(tree, &store)?,
            context: store.origin().strip_prefix(CONTEXT).map(str::to_owned),
            store,
            redis: RedisSettings::read(tree)?,
            service: raw(tree, "service")?.text,
            ordering,
            validation: required(tree, "validation.enabled", boolean)?,
            engine: required(tree, "validation.engine", engine)?,
            unknown_types: required(tree, "validation.unknown_types", unknown_types)?,
            limits,
            retention,
            holds: GroupHolds {
                forgotten_after: required(tree, "retention.forgotten_after", number::duration)?,
                max_hold: optional(tree, "retention.max_hold", number::duration)?,
            },
            upcasters: UpcasterFolder::read(tree)?,
            plans: PlanSettings::read(tree)?,
            max_retries: required(tree, "retries.max", number::retries)?,
            handler_timeout: required(tree, "handlers.timeout", timeout)?,
            breaker: breaker(tree)?,
            event_store: EventStoreSetting::new(
                required(tree, "event_store.enabled", boolean)?,
                raw(tree, "event_store.enabled")?.origin,
            ),
            dead_letters: required(tree, "dead_letters.enabled", boolean)?,
        })
    }

    /// Returns the options for opening the store. This call reads the password of a server.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when the password file cannot be read.
    pub fn open_options(&self) -> Result<OpenOptions, SettingsError> {
        let redis = match self.store.location() {
            Location::Redis { url, .. } => self.redis.access(url)?,
            Location::Sqlite { .. } | Location::Memory => RedisAccess::default(),
        };
        Ok(OpenOptions { keeps: self.event_store.keeps(), redis, ..OpenOptions::default() })
    }

    /// Returns the same settings for another store.
    #[must_use]
    pub fn for_store(&self, store: StoreLocation) -> Self {
        Self { store, ..self.clone() }
    }
}

fn breaker(tree: &Map<String, Value>) -> Result<Option<BreakerSettings>, SettingsError> {
    let failures = optional(tree, "breaker.failures", breaker_failures)?;
    let window = required(tree, "breaker.window", breaker_time)?;
    let pause = required(tree, "breaker.pause", breaker_time)?;
    Ok(failures.map(|failures| BreakerSettings { failures, window, pause }))
}

fn rule(
    tree: &Map<String, Value>,
    path: &str,
    types: Vec<TypePattern>,
) -> Result<Option<RetentionRule>, SettingsError> {
    let rule = RetentionRule {
        types,
        max_age: optional(tree, &format!("{path}.max_age"), number::duration)?,
        max_events: optional(tree, &format!("{path}.max_events"), count)?,
        max_bytes: optional(tree, &format!("{path}.max_bytes"), number::bytes)?,
        through: None,
    };
    Ok((!rule.is_empty()).then_some(rule))
}

/// Returns an error for an unknown setting. A misspelt setting must not be ignored silently.
fn refuse_unknown(tree: &Map<String, Value>) -> Result<(), SettingsError> {
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
            Err(SettingsError::invalid(format!("{origin}: there is no setting {:?}", escape::line(path)))
                .hint("`event-replay config show` lists every setting"))
        }
    }
}

fn show(tree: &Map<String, Value>, store: &StoreLocation) -> Result<Vec<Shown>, SettingsError> {
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
            // An address may contain a password. The location shows itself without it.
            "store" => Some(store.to_string()),
            "redis.password" | "redis.sentinel_password" => raw.text.map(|_| "***".to_owned()),
            _ => raw.text,
        };
        shown.push(Shown { key: name, value, origin: raw.origin });
    }
    Ok(shown)
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} ({})", self.key, self.value.as_deref().unwrap_or("unset"), self.origin)
    }
}
