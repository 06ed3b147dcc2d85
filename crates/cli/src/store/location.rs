//! A store's address: read strictly, shown without its password.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

use crate::{errors::CliError, output::escape};

const DEFAULT_NAMESPACE: &str = "default";

const FORMS: &str = "a store is sqlite:PATH, memory:, redis://HOST, redis+sentinel://HOST,HOST,HOST?master=NAME or \
                     redis+cluster://HOST,HOST, with rediss for TLS, each with namespace=NAME where wanted";

/// What an address on Redis begins with.
const REDIS: [&str; 6] =
    ["redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"];

/// What kind of place it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file.
    Sqlite(PathBuf),
    /// This process.
    Memory,
    /// A server, or several that are one store.
    Redis(Address),
}

/// The address of a server, or of several that are one store. It may hold a password, so nothing shows it.
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
        let is_redis = address.split_once(':').is_some_and(|(scheme, _)| REDIS.contains(&scheme));
        let parted = if is_redis { part_from_others(address) } else { part(address) };
        let (address, namespace) = parted.map_err(|what| wrong(&what))?;
        let address = address.as_ref();
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
            scheme if REDIS.contains(&scheme) => {
                let (shown, has_password) = without_password(address);
                if has_password && origin == "--store" {
                    return Err(CliError::usage(
                        "--store: a password on the command line can be read by every user of this machine; \
                         nothing was opened",
                    )
                    .hint("put the address into the environment variable EVENT_REPLAY_STORE"));
                }
                storage_redis::check_url(address).map_err(|what| wrong(&what))?;
                let place = Place::Redis(Address { url: address.to_owned(), has_password });
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
            Place::Memory | Place::Redis(_) => None,
        }
    }

    /// Whether it is on a Redis server.
    pub(crate) fn is_redis(&self) -> bool {
        matches!(self.place, Place::Redis(_))
    }

    /// The same place, but for the namespace.
    pub(crate) fn with_namespace(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }
}

/// The address of a place that has no parameters but the namespace, and the namespace.
fn part(address: &str) -> Result<(Cow<'_, str>, &str), String> {
    // A file's name may contain a question mark; only what reads as a parameter is one.
    let parameter = address.rsplit_once('?').and_then(|(before, last)| Some((before, last.split_once('=')?)));
    match parameter {
        None => Ok((address.into(), DEFAULT_NAMESPACE)),
        Some((before, ("namespace", name))) => Ok((before.into(), checked(name)?)),
        Some((_, (other, _))) => {
            Err(format!("there is no parameter {:?}; there is ?namespace=NAME", escape::short(other, 40)))
        }
    }
}

/// The address without the namespace among its parameters, and the namespace.
fn part_from_others(address: &str) -> Result<(Cow<'_, str>, &str), String> {
    let Some((before, query)) = address.rsplit_once('?') else {
        return Ok((address.into(), DEFAULT_NAMESPACE));
    };
    let (mut others, mut namespace) = (Vec::new(), None);
    for parameter in query.split('&') {
        match parameter.split_once('=') {
            Some(("namespace", name)) if namespace.is_none() => namespace = Some(checked(name)?),
            Some(("namespace", _)) => return Err("it names two namespaces".to_owned()),
            Some(("master", _)) => others.push(parameter),
            Some((other, _)) => {
                let other = escape::short(other, 40);
                return Err(format!("there is no parameter {other:?}; there is ?namespace=NAME"));
            }
            None => return Err("a parameter is written ?NAME=VALUE".to_owned()),
        }
    }
    let address = match others.is_empty() {
        true => before.into(),
        false => format!("{before}?{}", others.join("&")).into(),
    };
    Ok((address, namespace.unwrap_or(DEFAULT_NAMESPACE)))
}

fn checked(namespace: &str) -> Result<&str, String> {
    let is_fine = (1..=64).contains(&namespace.len())
        && namespace.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if is_fine {
        return Ok(namespace);
    }
    Err("a namespace has 1 to 64 letters, digits, dots, dashes or underscores".to_owned())
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
            let sign = if self.shown.contains("?master=") { '&' } else { '?' };
            write!(f, "{sign}namespace={}", self.namespace)?;
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
        let several = "redis+cluster://ann:pw@one:1,two:2?namespace=blue";
        assert!(parse(several, "--store").is_err());
        assert_eq!(
            parse(several, "REDIS_URL").unwrap().to_string(),
            "redis+cluster://ann:***@one:1,two:2?namespace=blue"
        );
    }

    #[test]
    fn several_servers_are_one_store() {
        let of = |address: &str| {
            let location = parse(address, "--store").unwrap();
            let Place::Redis(address) = location.place() else { panic!("{location}") };
            (address.url().to_owned(), location.namespace().to_owned(), location.to_string())
        };
        let sentinel = "redis+sentinel://one,two:7,[::1]:8/2?master=m";
        assert_eq!(of(sentinel), (sentinel.to_owned(), "default".to_owned(), sentinel.to_owned()));
        for address in
            ["rediss+sentinel://one?namespace=blue&master=m", "rediss+sentinel://one?master=m&namespace=blue"]
        {
            let (url, namespace, shown) = of(address);
            assert_eq!((url.as_str(), namespace.as_str()), ("rediss+sentinel://one?master=m", "blue"));
            assert_eq!(shown, "rediss+sentinel://one?master=m&namespace=blue");
            assert_eq!(of(&shown).2, shown);
        }
        assert_eq!(of("rediss+cluster://one,two").0, "rediss+cluster://one,two");
        for (address, because) in [
            ("redis+sentinel://one", "add ?master=NAME"),
            ("redis+sentinel://one?namespace=n", "add ?master=NAME"),
            ("redis+sentinel://one,,two?master=m", "host is missing"),
            ("redis+sentinel://one?master=m&namespace=a&namespace=b", "two namespaces"),
            ("redis+sentinel://one?master=m&namespace=a:b", "a namespace has"),
            ("redis+cluster://one?master=m", "has no parameter"),
            ("redis+sentinel://one?master=m&quorum=2", "there is no parameter"),
            ("redis://one?protocol=3", "there is no parameter"),
            ("redis://one?protocol", "?NAME=VALUE"),
            ("redis+cluster://one/3", "no databases"),
            ("redis+cluster:one", "does not begin"),
            ("redis+both://one", "no kind of store"),
        ] {
            let refused = parse(address, "--store").unwrap_err();
            assert!(format!("{refused:?}").contains(because), "{address}: {refused:?}");
        }
    }
}
