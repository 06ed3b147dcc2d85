//! The settings of a bus from its environment.

use std::{env, io, path::PathBuf, time::Duration};

use bus::BusSettings;
use thiserror::Error;

use super::{keys, password};
use crate::{options::RedisAccess, text::number};

const VALIDATION: &str = "ENABLE_EVENT_VALIDATION";
const EVENT_STORE: &str = "ENABLE_EVENT_STORE";
const DEAD_LETTERS: &str = "ENABLE_DEAD_LETTER_QUEUE";
const MAX_RETRIES: &str = "MAX_EVENT_RETRIES";
const TIMEOUT: &str = "DEFAULT_TIMEOUT";

/// An environment variable has a value that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{variable}={value}: {expected}")]
pub struct SettingError {
    /// The name of the variable.
    pub variable: &'static str,
    /// Its value.
    pub value: String,
    /// The valid values, as a sentence.
    pub expected: &'static str,
}

/// Reads the settings from the environment. An unset or empty variable leaves the default.
///
/// | variable | value | default |
/// |---|---|---|
/// | `ENABLE_EVENT_VALIDATION` | `true` or `false` | `true` |
/// | `ENABLE_EVENT_STORE` | `true` or `false`; it must agree with the mode of the namespace | the mode of the namespace |
/// | `ENABLE_DEAD_LETTER_QUEUE` | `true` or `false` | `true` |
/// | `MAX_EVENT_RETRIES` | attempts after the first, 0 to 1000 | 3 |
/// | `DEFAULT_TIMEOUT` | the time limit of handlers: milliseconds or a number with a unit (`30s`), at most a day | 30 seconds |
///
/// The command line reads the same variables, and also a settings file.
///
/// # Errors
/// Returns [`SettingError`] with the name of the variable when a value is not valid.
pub fn settings_from_env() -> Result<BusSettings, SettingError> {
    // A value that is not UTF-8 is never valid: the replacement characters make the parser refuse it.
    settings_from(|variable| env::var_os(variable).map(|value| value.to_string_lossy().into_owned()))
}

/// Reads the settings from a look-up of the variables of [`settings_from_env`].
///
/// ```
/// use event_replay::settings_from;
/// let settings = settings_from(|name| (name == "MAX_EVENT_RETRIES").then(|| "5".to_owned())).unwrap();
/// assert_eq!((settings.max_retries, settings.enable_validation), (5, true));
/// let wrong = settings_from(|name| (name == "DEFAULT_TIMEOUT").then(|| "soon".to_owned())).unwrap_err();
/// assert!(wrong.to_string().starts_with("DEFAULT_TIMEOUT=soon: "));
/// ```
///
/// # Errors
/// The same errors as [`settings_from_env`].
pub fn settings_from(lookup: impl Fn(&str) -> Option<String>) -> Result<BusSettings, SettingError> {
    let said = |variable: &str| lookup(variable).filter(|value| !value.is_empty());
    let mut settings = BusSettings::default();
    if let Some(enable) = read(VALIDATION, said(VALIDATION), boolean)? {
        settings.enable_validation = enable;
    }
    settings.enable_event_store = read(EVENT_STORE, said(EVENT_STORE), boolean)?;
    if let Some(enable) = read(DEAD_LETTERS, said(DEAD_LETTERS), boolean)? {
        settings.enable_dead_letter_queue = enable;
    }
    if let Some(retries) = read(MAX_RETRIES, said(MAX_RETRIES), retries)? {
        settings.max_retries = retries;
    }
    if let Some(timeout) = read(TIMEOUT, said(TIMEOUT), timeout)? {
        settings.default_timeout = timeout;
    }
    Ok(settings)
}

/// Reads the credentials for a Redis server from the environment, as the command line does.
///
/// | variable | value |
/// |---|---|
/// | `EVENT_REPLAY_REDIS_PASSWORD`, `REDIS_PASSWORD` | the password |
/// | `EVENT_REPLAY_REDIS_PASSWORD_FILE` | a file that contains only the password |
/// | `EVENT_REPLAY_REDIS_SENTINEL_USER` | the user for the sentinels, if they need one |
/// | `EVENT_REPLAY_REDIS_SENTINEL_PASSWORD` | the password of the sentinels, if they need one |
/// | `EVENT_REPLAY_REDIS_CA` | a PEM file with the authority that signed the server's certificate |
/// | `EVENT_REPLAY_REDIS_CERT`, `EVENT_REPLAY_REDIS_KEY` | PEM files with the client certificate and its key |
///
/// # Errors
/// Returns the I/O error when the password file cannot be read.
pub fn redis_access_from_env() -> io::Result<RedisAccess> {
    let file = |setting: &str| keys::said(setting).map(PathBuf::from);
    let password = password::read(keys::said("redis.password"), file("redis.password_file"));
    Ok(RedisAccess {
        password: password.map_err(|(_, error)| error)?,
        sentinel_user: keys::said("redis.sentinel_user"),
        sentinel_password: keys::said("redis.sentinel_password"),
        ca: file("redis.ca"),
        client: file("redis.cert").zip(file("redis.key")),
        compression: false,
        partitions: None,
        copies: None,
    })
}

fn read<T>(
    variable: &'static str,
    value: Option<String>,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Option<T>, SettingError> {
    let Some(value) = value else { return Ok(None) };
    match parse(value.trim()) {
        Ok(parsed) => Ok(Some(parsed)),
        Err(expected) => Err(SettingError { variable, value, expected }),
    }
}

fn boolean(text: &str) -> Result<bool, &'static str> {
    number::boolean(text).ok_or("it is true or false")
}

fn retries(text: &str) -> Result<u32, &'static str> {
    number::retries(text).map_err(|_| "it is a whole number from 0 (try once) to 1000")
}

fn timeout(text: &str) -> Result<Duration, &'static str> {
    number::timeout(text)
        .ok_or("it is a number of milliseconds (30000), or a number with a unit (30s, 2m), at most one day")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variable: &'static str, value: &str) -> Result<BusSettings, SettingError> {
        settings_from(|name| (name == variable).then(|| value.to_owned()))
    }

    #[test]
    fn what_means_nothing_is_refused_and_named() {
        for (variable, value) in [
            (VALIDATION, "maybe"),
            (EVENT_STORE, "2"),
            (DEAD_LETTERS, "tru"),
            (MAX_RETRIES, "-1"),
            (MAX_RETRIES, "1001"),
            (MAX_RETRIES, "three"),
            (TIMEOUT, "0"),
            (TIMEOUT, "0s"),
            (TIMEOUT, "25h"),
            (TIMEOUT, "-5"),
        ] {
            let error = with(variable, value).unwrap_err();
            assert_eq!((error.variable, error.value.as_str()), (variable, value));
            assert!(error.to_string().starts_with(&format!("{variable}={value}: it is ")), "{error}");
        }
    }

    #[test]
    fn values_may_be_written_in_several_ways() {
        for (text, value) in [("TRUE", true), ("on", true), ("1", true), ("No", false), (" off ", false)] {
            assert_eq!(with(VALIDATION, text).unwrap().enable_validation, value, "{text}");
        }
        for (text, millis) in [("250", 250), ("250ms", 250), ("30s", 30_000), ("1m 30s", 90_000)] {
            let timeout = with(TIMEOUT, text).unwrap().default_timeout;
            assert_eq!(timeout, Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn nothing_said_is_the_default() {
        for settings in [settings_from(|_| None), settings_from(|_| Some(String::new()))] {
            let (said, default) = (settings.unwrap(), BusSettings::default());
            assert_eq!(said.enable_validation, default.enable_validation);
            assert_eq!(said.enable_event_store, None);
            assert_eq!(said.enable_dead_letter_queue, default.enable_dead_letter_queue);
            assert_eq!(said.max_retries, default.max_retries);
            assert_eq!(said.default_timeout, default.default_timeout);
        }
    }
}
