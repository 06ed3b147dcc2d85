//! A store's address: read strictly, shown without its password.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{errors::CliError, output::escape};

const DEFAULT_NAMESPACE: &str = "default";

const FORMS: &str =
    "a store is sqlite:PATH, memory:, redis://HOST or rediss://HOST, each with ?namespace=NAME where wanted";

/// What kind of place it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file.
    Sqlite(PathBuf),
    /// This process.
    Memory,
    /// A server.
    Redis(Address),
    /// Several servers that are one store, which this version cannot open.
    RedisGroup,
}

/// The address of a server. It may hold a password, so nothing shows it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Address {
    url: String,
    has_password: bool,
}

impl Address {
    /// As a client takes it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether it says a password.
    pub(crate) fn has_password(&self) -> bool {
        self.has_password
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(***)")
    }
}

/// Where a store is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct StoreLocation {
    place: Place,
    namespace: String,
    /// The address without password.
    shown: String,
    origin: String,
}

impl StoreLocation {
    /// Reads an address with its origin; none: the file in the user's data folder.
    pub(crate) fn resolve(setting: &Option<(String, String)>) -> Result<Self, CliError> {
        match setting {
            Some((address, origin)) => Self::parse(address, origin),
            None => {
                let dirs = directories::ProjectDirs::from("", "", "event-replay").ok_or_else(|| {
                    CliError::usage("there is no home folder to keep a store in")
                        .hint("name one: --store sqlite:PATH")
                })?;
                Ok(Self::at_file(dirs.data_dir().join("events.db"), DEFAULT_NAMESPACE, "default"))
            }
        }
    }

    /// A file.
    pub(crate) fn at_file(path: PathBuf, namespace: &str, origin: &str) -> Self {
        let shown = format!("sqlite:{}", path.display());
        Self { place: Place::Sqlite(path), namespace: namespace.to_owned(), shown, origin: origin.to_owned() }
    }

    fn parse(address: &str, origin: &str) -> Result<Self, CliError> {
        let wrong = |what: &str| CliError::usage(format!("{origin}: {what}")).hint(FORMS);
        let (address, namespace) = split_namespace(address).map_err(|what| wrong(&what))?;
        let Some((scheme, rest)) = address.split_once(':') else {
            let shown = escape::short(address, 80);
            return Err(wrong(&format!("{shown:?} is no store address (for a file write sqlite:{shown})")));
        };
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                match path.is_empty() {
                    true => Err(wrong("sqlite: wants the path of a file")),
                    false => Ok(Self::at_file(PathBuf::from(path), namespace, origin)),
                }
            }
            "memory" => Ok(Self {
                place: Place::Memory,
                namespace: namespace.to_owned(),
                shown: "memory:".to_owned(),
                origin: origin.to_owned(),
            }),
            "redis" | "rediss" | "redis+sentinel" | "redis+cluster" => {
                let (shown, has_password) = without_password(address);
                if has_password && origin == "--store" {
                    return Err(CliError::usage(
                        "--store: a password on the command line can be read by every user of this machine; \
                         nothing was opened",
                    )
                    .hint("put the address into the environment variable EVENT_REPLAY_STORE"));
                }
                let place = match scheme {
                    "redis" | "rediss" => Place::Redis(Address { url: address.to_owned(), has_password }),
                    _ => Place::RedisGroup,
                };
                Ok(Self { place, namespace: namespace.to_owned(), shown, origin: origin.to_owned() })
            }
            other => {
                let shown = escape::short(other, 40);
                Err(wrong(&format!("{shown:?} is no kind of store")))
            }
        }
    }

    /// What kind of place it is.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The namespace within it.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Who said so.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// The file, if it is one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match &self.place {
            Place::Sqlite(path) => Some(path),
            Place::Memory | Place::Redis(_) | Place::RedisGroup => None,
        }
    }

    /// Whether it is on a Redis server.
    pub(crate) fn is_redis(&self) -> bool {
        matches!(self.place, Place::Redis(_) | Place::RedisGroup)
    }

    /// The same place, but for the namespace.
    pub(crate) fn with_namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }
}

fn split_namespace(address: &str) -> Result<(&str, &str), String> {
    // A file's name may contain a question mark; only what reads as a parameter is one.
    let Some((before, query)) = address.rsplit_once('?') else { return Ok((address, DEFAULT_NAMESPACE)) };
    match query.split_once('=') {
        Some(("namespace", name)) => {
            let fine = (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            match fine {
                true => Ok((before, name)),
                false => {
                    Err("a namespace has 1 to 64 letters, digits, dots, dashes or underscores".to_owned())
                }
            }
        }
        Some((other, _)) => {
            Err(format!("there is no parameter {:?}; there is ?namespace=NAME", escape::short(other, 40)))
        }
        None => Ok((address, DEFAULT_NAMESPACE)),
    }
}

/// The address with its password hidden, and whether it had one.
pub(crate) fn without_password(address: &str) -> (String, bool) {
    let Some((scheme, rest)) = address.split_once("://") else { return (address.to_owned(), false) };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((credentials, host)) => match credentials.split_once(':') {
            Some((user, _)) => (format!("{scheme}://{user}:***@{host}{path}"), true),
            None => (address.to_owned(), false),
        },
        None => (address.to_owned(), false),
    }
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape::line(&self.shown))?;
        if self.namespace != DEFAULT_NAMESPACE {
            write!(f, "?namespace={}", self.namespace)?;
        }
        Ok(())
    }
}

impl fmt::Debug for StoreLocation {
    /// As it is shown: an address never gives its password away.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreLocation({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str, origin: &str) -> Result<StoreLocation, CliError> {
        StoreLocation::resolve(&Some((address.to_owned(), origin.to_owned())))
    }

    #[test]
    fn addresses_are_read_strictly() {
        let file = parse("sqlite:events.db?namespace=blue", "--store").unwrap();
        assert_eq!(file.path(), Some(Path::new("events.db")));
        assert_eq!(file.namespace(), "blue");
        assert_eq!(file.to_string(), "sqlite:events.db?namespace=blue");
        assert_eq!(parse("sqlite:///tmp/x.db", "--store").unwrap().path(), Some(Path::new("/tmp/x.db")));
        assert_eq!(parse("sqlite:what?.db", "--store").unwrap().path(), Some(Path::new("what?.db")));
        for address in [
            "events.db",
            "postgres://x",
            "sqlite:",
            "sqlite:x?mode=ro",
            "sqlite:x?namespace=",
            "sqlite:x?namespace=a:b",
        ] {
            assert!(parse(address, "--store").is_err(), "{address}");
        }
    }

    #[test]
    fn a_password_is_never_shown_and_never_taken_from_argv() {
        let location = parse("redis://ann:pw@host:6379/0", "REDIS_URL").unwrap();
        assert_eq!(location.to_string(), "redis://ann:***@host:6379/0");
        assert!(!format!("{location:?} {:?}", location.place()).contains("pw"));
        assert_eq!(parse("rediss://:p@ss@h", "REDIS_URL").unwrap().to_string(), "rediss://:***@h");
        assert!(parse("redis://:pw@host", "--store").is_err());
        assert!(parse("redis://host", "--store").is_ok());
    }
}
