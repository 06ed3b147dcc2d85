//! Every setting: its name, its environment variables, its default.

/// A setting.
pub(crate) struct Key {
    /// The name in `event-replay.toml`, with dots between tables.
    pub(crate) name: &'static str,
    /// Environment variables beside the regular one. The regular one is `EVENT_REPLAY_` and the name in capitals.
    pub(crate) aliases: &'static [&'static str],
    /// The default. `None`: unset.
    #[cfg_attr(not(feature = "app"), allow(dead_code, reason = "settings from files alone have defaults"))]
    pub(crate) default: Option<&'static str>,
}

const fn key(name: &'static str, aliases: &'static [&'static str], default: Option<&'static str>) -> Key {
    Key { name, aliases, default }
}

/// All settings except `retention.types.<pattern>.*`, which has a key for each pattern.
pub(crate) const KEYS: &[Key] = &[
    key("store", &[], None),
    key("redis.password", &["REDIS_PASSWORD"], None),
    key("redis.password_file", &[], None),
    key("redis.sentinel_user", &[], None),
    key("redis.sentinel_password", &[], None),
    key("redis.ca", &[], None),
    key("redis.cert", &[], None),
    key("redis.key", &[], None),
    key("redis.compression", &[], Some("false")),
    key("redis.partitions", &[], None),
    key("redis.copies.replicas", &[], Some("0")),
    key("redis.copies.synced", &[], Some("false")),
    key("redis.copies.within", &[], Some("1s")),
    key("service", &["SERVICE_NAME"], None),
    key("ordering", &[], Some("userId")),
    key("validation.enabled", &["ENABLE_EVENT_VALIDATION"], Some("true")),
    key("validation.engine", &[], Some("jsonschema")),
    key("validation.unknown_types", &[], Some("refuse")),
    key("limits.max_event_bytes", &[], Some("1MiB")),
    key("limits.max_depth", &[], Some("64")),
    key("limits.max_name_bytes", &[], Some("128")),
    key("limits.max_ahead", &[], Some("24h")),
    key("retention.max_age", &[], None),
    key("retention.max_events", &[], None),
    key("retention.max_bytes", &[], None),
    key("retention.max_hold", &[], None),
    key("retention.forgotten_after", &[], Some("7d")),
    key("upcasters", &[], None),
    key("plans.valid_for", &[], Some("7d")),
    key("plans.confirm_above", &[], Some("10000")),
    key("plans.approval_above", &[], None),
    key("plans.approval_targets", &[], None),
    key("retries.max", &["MAX_EVENT_RETRIES"], Some("3")),
    key("handlers.timeout", &["EVENT_REPLAY_TIMEOUT", "DEFAULT_TIMEOUT"], Some("30s")),
    key("breaker.failures", &[], None),
    key("breaker.window", &[], Some("30s")),
    key("breaker.pause", &[], Some("5s")),
    key("event_store.enabled", &["ENABLE_EVENT_STORE"], Some("true")),
    key("dead_letters.enabled", &["ENABLE_DEAD_LETTER_QUEUE"], Some("true")),
];

/// The retention bounds that a type pattern can have.
#[cfg(feature = "app")]
pub(crate) const RETENTION_BOUNDS: &[&str] = &["max_age", "max_events", "max_bytes"];

impl Key {
    /// Returns the environment variables of the setting. The first one that is set takes precedence.
    pub(crate) fn variables(&self) -> impl Iterator<Item = String> {
        let regular = format!("EVENT_REPLAY_{}", self.name.to_ascii_uppercase().replace('.', "_"));
        std::iter::once(regular).chain(self.aliases.iter().map(|&name| name.to_owned()))
    }

    /// Returns the value from the environment, and the name of its variable. An empty variable counts as unset.
    pub(crate) fn in_environment(&self) -> Option<(String, String)> {
        self.variables().find_map(|name| Some((set(&name)?, name)))
    }
}

/// Returns the value of a variable, unless it is empty.
pub(crate) fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns the value of a setting from the environment.
pub(crate) fn said(setting: &str) -> Option<String> {
    let key = KEYS.iter().find(|key| key.name == setting)?;
    key.in_environment().map(|(value, _)| value)
}
