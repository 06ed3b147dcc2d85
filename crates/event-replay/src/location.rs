//! Where a store is, as text: `sqlite:PATH`, `redis://HOST` or `memory:`.

use std::{fmt, path::PathBuf, str::FromStr};

use thiserror::Error;

const DEFAULT_NAMESPACE: &str = "default";
const MAX_NAMESPACE_BYTES: usize = 64;

/// Where a store is. It is written as the command line writes it: `sqlite:PATH`,
/// `redis://[USER[:PASSWORD]@]HOST[:PORT][/DB]`, `rediss://` likewise for TLS, or `memory:`, each with `?namespace=NAME`
/// where wanted. A password in it is never shown.
///
/// ```
/// use event_replay::Location;
/// let location: Location = "sqlite:events.db?namespace=blue".parse().unwrap();
/// assert_eq!(location, Location::Sqlite { path: "events.db".into(), namespace: "blue".to_owned() });
/// assert_eq!(location.to_string(), "sqlite:events.db?namespace=blue");
/// assert!("events.db".parse::<Location>().is_err());
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
    /// A Redis server.
    Redis {
        /// Its address.
        url: RedisUrl,
        /// The namespace on it; a server may hold many.
        namespace: String,
    },
    /// This process. Each time it is opened it is another store.
    Memory,
}

/// The address of a Redis server. It may hold a password, which is shown as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
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
        "there is no kind of store {0:?}: there are sqlite:PATH, redis://HOST, rediss://HOST and memory:"
    )]
    UnknownKind(String),
    /// The path is empty.
    #[error("sqlite: wants the path of a file")]
    NoPath,
    /// The host is missing.
    #[error("redis:// wants the name of a host")]
    NoHost,
    /// The namespace has a name that none may have.
    #[error("a namespace has 1 to 64 letters, digits, dots, dashes or underscores")]
    BadNamespace,
    /// A parameter that is not there.
    #[error("there is no parameter {0:?}: there is ?namespace=NAME")]
    UnknownParameter(String),
}

impl FromStr for Location {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let (address, namespace) = split(text)?;
        let (kind, rest) = address.split_once(':').ok_or(BadLocation::NoKind)?;
        match kind {
            "sqlite" => match rest.strip_prefix("//").unwrap_or(rest) {
                "" => Err(BadLocation::NoPath),
                path => Ok(Self::Sqlite { path: path.into(), namespace: namespace.to_owned() }),
            },
            "redis" | "rediss" if rest.len() > 2 && rest.starts_with("//") => {
                Ok(Self::Redis { url: RedisUrl(address.to_owned()), namespace: namespace.to_owned() })
            }
            "redis" | "rediss" => Err(BadLocation::NoHost),
            "memory" => Ok(Self::Memory),
            other => Err(BadLocation::UnknownKind(other.to_owned())),
        }
    }
}

fn split(text: &str) -> Result<(&str, &str), BadLocation> {
    // A file's name may contain a question mark; only what reads as a parameter is one.
    let parameter = text.rsplit_once('?').and_then(|(address, last)| Some((address, last.split_once('=')?)));
    match parameter {
        None => Ok((text, DEFAULT_NAMESPACE)),
        Some((address, ("namespace", name))) => {
            let is_fine = (1..=MAX_NAMESPACE_BYTES).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            if is_fine { Ok((address, name)) } else { Err(BadLocation::BadNamespace) }
        }
        Some((_, (other, _))) => Err(BadLocation::UnknownParameter(other.to_owned())),
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Redis { url, namespace } if namespace == DEFAULT_NAMESPACE => write!(f, "{url}"),
            Self::Redis { url, namespace } => write!(f, "{url}?namespace={namespace}"),
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
        for text in ["redis://host", "rediss://ann@host:7000/2?namespace=blue", "redis://[::1]:6379"] {
            assert_eq!(text.parse::<Location>().unwrap().to_string(), text);
        }
        assert_eq!("sqlite:///tmp/x".parse::<Location>().unwrap().to_string(), "sqlite:/tmp/x");
    }
    #[test]
    fn a_password_is_never_shown() {
        for (text, shown) in [
            ("redis://:s@cret:@host:1/2", "redis://:***@host:1/2"),
            ("rediss://ann:s@cret@host?namespace=n", "rediss://ann:***@host?namespace=n"),
        ] {
            let location: Location = text.parse().unwrap();
            assert_eq!(location.to_string(), shown);
            assert!(!format!("{location:?}").contains("cret"), "{location:?}");
            let Location::Redis { url, .. } = location else { panic!("{text}") };
            assert!(url.has_password() && url.reveal().contains("s@cret"));
        }
    }
}
