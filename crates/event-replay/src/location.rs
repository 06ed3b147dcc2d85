//! The address of a store as text: `sqlite:PATH`, `redis://HOST`, `redis+sentinel://HOST,…?master=NAME`,
//! `redis+cluster://HOST,…` or `memory:`.

use std::{
    cmp::Ordering,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

const DEFAULT_NAMESPACE: &str = "default";
const MAX_NAMESPACE_BYTES: usize = 64;

/// The address of a store. The command line uses the same forms:
///
/// - `sqlite:PATH` for a file,
/// - `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]` for a Redis server,
/// - `redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],…[/DB]?master=NAME` for the master that these sentinels report,
/// - `redis+cluster://[USER[:PASSWORD]@]HOST[:PORT],…` for the cluster with these nodes,
/// - `memory:` for a store in memory.
///
/// Each Redis form has a `rediss` form for TLS. The parameter `namespace=NAME` selects a namespace. A password in a
/// location is never shown.
///
/// ```
/// use event_replay::Location;
/// let location: Location = "sqlite:events.db?namespace=blue".parse().unwrap();
/// assert_eq!(location, Location::Sqlite { path: "events.db".into(), namespace: "blue".to_owned() });
/// assert_eq!(location.to_string(), "sqlite:events.db?namespace=blue");
/// assert!("events.db".parse::<Location>().is_err());
///
/// let sentinels = "redis+sentinel://one,two,three?master=events&namespace=blue";
/// assert_eq!(sentinels.parse::<Location>().unwrap().to_string(), sentinels);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Location {
    /// A SQLite file.
    Sqlite {
        /// The path of the file.
        path: PathBuf,
        /// The namespace of the file. A file has exactly one.
        namespace: String,
    },
    /// A Redis server, or several servers that form one store.
    Redis {
        /// The address of the server or servers.
        url: RedisUrl,
        /// The namespace on the server. A server can have many.
        namespace: String,
    },
    /// The memory of this process. Each call that opens it makes a new store.
    Memory,
}

/// The address of a Redis server, or of several servers that form one store. It may contain a password, which is shown
/// as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Makes an address from text, without a check.
    pub fn new(address: impl Into<String>) -> Self {
        Self(address.into())
    }

    /// Returns the address with its password.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns whether the address contains a password.
    pub fn has_password(&self) -> bool {
        self.parts().is_some_and(|(_, credentials, _)| credentials.contains(':'))
    }

    /// Returns the text before the credentials, the credentials, and the text after them. Returns `None` if the address
    /// has no user.
    fn parts(&self) -> Option<(&str, &str, &str)> {
        let begin = self.0.find("://")? + 3;
        let rest = self.0.get(begin..)?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let at = rest.get(..end)?.rfind('@')?;
        Some((self.0.get(..begin)?, rest.get(..at)?, rest.get(at..)?))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            Some((scheme, credentials, rest)) => match credentials.split_once(':') {
                Some((user, _)) => write!(f, "{scheme}{user}:***{rest}"),
                None => f.write_str(&self.0),
            },
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// The reason for which a text is not a location.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadLocation {
    /// The text has no kind of store.
    #[error("it names no kind of store: write sqlite:PATH, redis://HOST or memory:")]
    NoKind,
    /// The kind of store is unknown. The error does not repeat the address, because the address may contain a password.
    #[error(
        "there is not a kind of store {0:?}: there are sqlite:PATH, redis://HOST, redis+sentinel://HOST,…?master=NAME, \
         redis+cluster://HOST,…, the last three with rediss for TLS, and memory:"
    )]
    UnknownKind(String),
    /// The path is empty.
    #[error("sqlite: needs the path of a file")]
    NoPath,
    /// The name of a host is missing.
    #[error(
        "the name of a host is missing, or it does not begin with redis://, redis+sentinel:// or redis+cluster://: \
         hosts are written HOST:PORT,HOST:PORT"
    )]
    NoHost,
    /// The name of the master is missing in a `redis+sentinel` location.
    #[error("it does not say by which name the sentinels know the master: add ?master=NAME")]
    NoMaster,
    /// The name of the namespace is not valid.
    #[error("a namespace has 1 to 64 letters, digits, dots, dashes or underscores")]
    BadNamespace,
    /// This kind of store has no such parameter.
    #[error(
        "there is no parameter {0:?}: a store has no parameter but ?namespace=NAME, and ?master=NAME with \
         redis+sentinel://"
    )]
    UnknownParameter(String),
    /// A parameter has no value. The error does not repeat it, because it may be a part of a password. A question mark
    /// in a password is written `%3F`.
    #[error("a parameter is written ?NAME=VALUE")]
    BareParameter,
    /// A parameter occurs twice.
    #[error("it names two {0}s")]
    Repeated(&'static str),
    /// The client library cannot parse the address.
    #[error("{0}")]
    Address(String),
}

impl Location {
    /// Returns the location of a file with its namespace.
    pub fn file(path: impl Into<PathBuf>, namespace: &str) -> Self {
        Self::Sqlite { path: path.into(), namespace: namespace.to_owned() }
    }

    /// Returns the name of the namespace.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Sqlite { namespace, .. } | Self::Redis { namespace, .. } => namespace,
            Self::Memory => DEFAULT_NAMESPACE,
        }
    }

    /// Returns the same location with another namespace. A store in memory has only one namespace and stays the same.
    #[must_use]
    pub fn with_namespace(self, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        match self {
            Self::Sqlite { path, .. } => Self::Sqlite { path, namespace },
            Self::Redis { url, .. } => Self::Redis { url, namespace },
            Self::Memory => Self::Memory,
        }
    }

    /// Returns the path if the location is a file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite { path, .. } => Some(path),
            Self::Memory | Self::Redis { .. } => None,
        }
    }
}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let kind = text.split_once(':').ok_or(BadLocation::NoKind)?.0;
        match kind {
            "redis" | "rediss" => redis(text, &[]),
            "redis+sentinel" | "rediss+sentinel" => redis(text, &["master"]),
            "redis+cluster" | "rediss+cluster" => redis(text, &[]),
            _ => {
                let (address, namespace) = split(text)?;
                let (kind, rest) = address.split_once(':').ok_or(BadLocation::NoKind)?;
                match (kind, rest.strip_prefix("//").unwrap_or(rest)) {
                    ("sqlite", "") => Err(BadLocation::NoPath),
                    ("sqlite", path) => {
                        Ok(Self::Sqlite { path: path.into(), namespace: namespace.to_owned() })
                    }
                    ("memory", _) => Ok(Self::Memory),
                    (other, _) => Err(BadLocation::UnknownKind(other.to_owned())),
                }
            }
        }
    }
}

/// Parses an address on Redis with its required parameters and an optional namespace. The adapter checks the rest of
/// the address.
fn redis(text: &str, needed: &[&str]) -> Result<Location, BadLocation> {
    let (address, query) = text.rsplit_once('?').unwrap_or((text, ""));
    let (mut kept, mut namespace) = (Vec::new(), None);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=') {
            Some(("namespace", _)) if namespace.is_some() => return Err(BadLocation::Repeated("namespace")),
            Some(("namespace", name)) => namespace = Some(checked(name)?),
            Some((name, value)) if needed.contains(&name) && !value.is_empty() => kept.push(parameter),
            Some((name, _)) if needed.contains(&name) => return Err(BadLocation::NoMaster),
            Some((name, _)) => return Err(BadLocation::UnknownParameter(name.to_owned())),
            None => return Err(BadLocation::BareParameter),
        }
    }
    match kept.len().cmp(&needed.len()) {
        Ordering::Less => return Err(BadLocation::NoMaster),
        Ordering::Greater => return Err(BadLocation::Repeated("master")),
        Ordering::Equal => {}
    }
    let hosts = address.split_once("://").ok_or(BadLocation::NoHost)?.1;
    let hosts = hosts.get(..hosts.find('/').unwrap_or(hosts.len())).unwrap_or_default();
    let hosts = hosts.rsplit_once('@').map_or(hosts, |(_, hosts)| hosts);
    if hosts.split(',').any(str::is_empty) {
        return Err(BadLocation::NoHost);
    }
    let url = match kept.is_empty() {
        true => address.to_owned(),
        false => format!("{address}?{}", kept.join("&")),
    };
    Ok(Location::Redis { url: RedisUrl(url), namespace: namespace.unwrap_or(DEFAULT_NAMESPACE).to_owned() })
}

fn split(text: &str) -> Result<(&str, &str), BadLocation> {
    // The name of a file may contain a question mark. Only a text with `=` after the last question mark is a parameter.
    let parameter = text.rsplit_once('?').and_then(|(address, last)| Some((address, last.split_once('=')?)));
    match parameter {
        None => Ok((text, DEFAULT_NAMESPACE)),
        Some((address, ("namespace", name))) => Ok((address, checked(name)?)),
        Some((_, (other, _))) => Err(BadLocation::UnknownParameter(other.to_owned())),
    }
}

fn checked(namespace: &str) -> Result<&str, BadLocation> {
    let is_fine = (1..=MAX_NAMESPACE_BYTES).contains(&namespace.len())
        && namespace.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if is_fine { Ok(namespace) } else { Err(BadLocation::BadNamespace) }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Redis { url, namespace } if namespace == DEFAULT_NAMESPACE => write!(f, "{url}"),
            Self::Redis { url, namespace } => {
                let sign = if url.0.contains("?master=") { '&' } else { '?' };
                write!(f, "{url}{sign}namespace={namespace}")
            }
            Self::Sqlite { path, namespace } if namespace == DEFAULT_NAMESPACE => {
                write!(f, "sqlite:{}", path.display())
            }
            Self::Sqlite { path, namespace } => write!(f, "sqlite:{}?namespace={namespace}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_location_is_refused_with_a_reason() {
        for (text, wrong) in [
            ("events.db", BadLocation::NoKind),
            ("sqlite:", BadLocation::NoPath),
            ("postgres://me:secret@host", BadLocation::UnknownKind("postgres".to_owned())),
            ("redis:me:secret@host", BadLocation::NoHost),
            ("redis://", BadLocation::NoHost),
            ("redis://me:secret@", BadLocation::NoHost),
            ("redis+cluster://me:secret@one,,two", BadLocation::NoHost),
            ("redis+cluster://", BadLocation::NoHost),
            ("redis+cluster://one?master=m", BadLocation::UnknownParameter("master".to_owned())),
            ("redis+sentinel://me:secret@one", BadLocation::NoMaster),
            ("redis+sentinel://one?master=", BadLocation::NoMaster),
            ("redis+sentinel://one?namespace=a:b&master=m", BadLocation::BadNamespace),
            ("redis+sentinel://one,?master=m", BadLocation::NoHost),
            ("redis+other://one", BadLocation::UnknownKind("redis+other".to_owned())),
            ("redis://me:secret@host?protocol=3", BadLocation::UnknownParameter("protocol".to_owned())),
            ("sqlite:x?mode=ro", BadLocation::UnknownParameter("mode".to_owned())),
            ("sqlite:x?namespace=a:b", BadLocation::BadNamespace),
            ("sqlite:x?namespace=", BadLocation::BadNamespace),
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert_eq!(error, wrong, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn a_location_reads_as_it_is_written() {
        for text in ["memory:", "sqlite:what?.db", "sqlite:/tmp/x.db?namespace=a.b_c-1"] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        for text in [
            "redis://host",
            "rediss://ann@host:7000/2?namespace=blue",
            "redis://[::1]:6379",
            "redis+sentinel://one:1,two:2/3?master=m",
            "rediss+sentinel://ann@one?master=m&namespace=blue",
            "redis+cluster://one,[::1]:7000",
            "rediss+cluster://one?namespace=blue",
        ] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        assert_eq!("sqlite:///tmp/x".parse::<Location>().unwrap().to_string(), "sqlite:/tmp/x");
    }
    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("redis://:s@cret:@host:1/2", "redis://:***@host:1/2"),
            ("rediss://ann:s@cret@host?namespace=n", "rediss://ann:***@host?namespace=n"),
            ("redis+sentinel://ann:s@cret@one,two?master=m", "redis+sentinel://ann:***@one,two?master=m"),
            ("redis+cluster://:s@cret@one:1,two:2", "redis+cluster://:***@one:1,two:2"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), shown);
            assert!(!format!("{location:?}").contains("cret"), "{location:?}");
            let Location::Redis { url, .. } = location else { panic!("{text}") };
            assert!(url.has_password() && url.reveal().contains("s@cret"));
        }
    }
}
