//! Where a store is, as text: `sqlite:PATH` or `memory:`.

use std::{fmt, path::PathBuf, str::FromStr};

use thiserror::Error;

const DEFAULT_NAMESPACE: &str = "default";
const MAX_NAMESPACE_BYTES: usize = 64;

/// Where a store is. It is written as the command line writes it: `sqlite:PATH` or `memory:`, each with
/// `?namespace=NAME` where wanted.
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
    /// This process. Each time it is opened it is another store.
    Memory,
}

/// Why a text names no store.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadLocation {
    /// It does not say what kind of store.
    #[error("it names no kind of store: write sqlite:PATH or memory:")]
    NoKind,
    /// It says a kind that this library does not know. The address is not repeated: it may hold a password.
    #[error("there is no kind of store {0:?}: there are sqlite:PATH and memory:")]
    UnknownKind(String),
    /// The path is empty.
    #[error("sqlite: wants the path of a file")]
    NoPath,
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
            ("redis://me:secret@host", BadLocation::UnknownKind("redis".to_owned())),
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
        assert_eq!("sqlite:///tmp/x".parse::<Location>().unwrap().to_string(), "sqlite:/tmp/x");
    }
}
