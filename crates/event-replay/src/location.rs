//! Where a store is, as text: `sqlite:PATH`, `redis://HOST`, `redis+sentinel://HOST,…?master=NAME`, `redis+cluster://HOST,…` or
//! `memory:`.

use std::{
    cmp::Ordering,
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use thiserror::Error;

const DEFAULT_NAMESPACE: &str = "default";
const MAX_NAMESPACE_BYTES: usize = 64;

/// Where a store is. It is written as the command line writes it: `sqlite:PATH`,
/// `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`, `redis+sentinel://[USER[:PASSWORD]@]HOST[:PORT],…[/DB]?master=NAME` for the
/// master that these sentinels name, `redis+cluster://[USER[:PASSWORD]@]HOST[:PORT],…` for a cluster with these nodes, each
/// with `rediss` for TLS, or `memory:`; and with the parameter `namespace=NAME` where wanted. A password in it is never shown.
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
    /// A file.
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The namespace in it; a file holds one.
        namespace: String,
    },
    /// A Redis server, or several that are one store.
    Redis {
        /// Its address.
        url: RedisUrl,
        /// The namespace there, among others.
        namespace: String,
    },
    /// This process. Each time it is opened it is another store.
    Memory,
}

/// The address of a Redis server, or of several that are one store. It may hold a password, which is shown as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// An address as it was written, unchecked.
    pub fn new(address: impl Into<String>) -> Self {
        Self(address.into())
    }

    /// The address as it is, with its password.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it holds a password.
    pub fn has_password(&self) -> bool {
        self.parts().is_some_and(|(_, credentials, _)| credentials.contains(':'))
    }

    /// What stands before the user, user and password, and what follows them; none where there is no user.
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

/// Why a text names no store.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadLocation {
    /// It does not say what kind of store.
    #[error("it names no kind of store: write sqlite:PATH, redis://HOST or memory:")]
    NoKind,
    /// It says a kind that this library does not know. The address is not repeated: it may hold a password.
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
    /// It does not say which master the sentinels are to name.
    #[error("it does not say by which name the sentinels know the master: add ?master=NAME")]
    NoMaster,
    /// The namespace has a name that none may have.
    #[error("a namespace has 1 to 64 letters, digits, dots, dashes or underscores")]
    BadNamespace,
    /// No store of this kind has such a parameter.
    #[error(
        "there is no parameter {0:?}: a store has no parameter but ?namespace=NAME, and ?master=NAME with \
         redis+sentinel://"
    )]
    UnknownParameter(String),
    /// A parameter without a value. It is not repeated: it may be a part of a password, whose question mark is written %3F.
    #[error("a parameter is written ?NAME=VALUE")]
    BareParameter,
    /// A parameter is there twice.
    #[error("it names two {0}s")]
    Repeated(&'static str),
    /// The client library cannot read the address.
    #[error("{0}")]
    Address(String),
}

impl Location {
    /// A file, with its namespace.
    pub fn file(path: impl Into<PathBuf>, namespace: &str) -> Self {
        Self::Sqlite { path: path.into(), namespace: namespace.to_owned() }
    }

    /// The namespace within it.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Sqlite { namespace, .. } | Self::Redis { namespace, .. } => namespace,
            Self::Memory => DEFAULT_NAMESPACE,
        }
    }

    /// The same place with another namespace. A store in memory has one alone.
    #[must_use]
    pub fn with_namespace(self, namespace: &str) -> Self {
        let namespace = namespace.to_owned();
        match self {
            Self::Sqlite { path, .. } => Self::Sqlite { path, namespace },
            Self::Redis { url, .. } => Self::Redis { url, namespace },
            Self::Memory => Self::Memory,
        }
    }

    /// The file, if it is one.
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

/// An address on Redis with parameters that it must have, beside the namespace. What else may be wrong with it its adapter
/// says.
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
    // A file's name may contain a question mark; only what reads as a parameter is one.
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
