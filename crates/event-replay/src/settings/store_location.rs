//! The location of the store and its origin.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::{
    error::SettingsError,
    origin::{DEFAULT, STORE_FLAG},
    values::anchored_path,
};
use crate::{
    adapters,
    location::{BadLocation, Location},
    text::escape,
};

const FORMS: &str = "a store is sqlite:PATH, memory:, redis://HOST, redis+sentinel://HOST,HOST,HOST?master=NAME or \
                     redis+cluster://HOST,HOST, with rediss for TLS, each with namespace=NAME where wanted";

/// Returns the folder for the user's own data, if there is a home folder.
pub fn data_folder() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "event-replay").map(|dirs| dirs.data_dir().to_owned())
}

/// The location of the store and its origin. Its display form has no password and no terminal control characters.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreLocation {
    location: Location,
    origin: String,
}

impl StoreLocation {
    /// Parses an address and keeps its origin. Without an address, the location is the file in the user's data folder.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when the address is not a location, or when a flag contains a password. Every user of
    /// the machine could read such a password.
    pub fn resolve(setting: Option<&(String, String)>) -> Result<Self, SettingsError> {
        match setting {
            Some((address, origin)) => Self::parse(address, origin),
            None => {
                let folder = data_folder().ok_or_else(|| {
                    SettingsError::invalid("there is no home folder to keep a store in")
                        .hint("name one: --store sqlite:PATH")
                })?;
                Ok(Self::at_file(folder.join("events.db"), DEFAULT))
            }
        }
    }

    /// Returns the location of a file.
    pub fn at_file(path: PathBuf, origin: &str) -> Self {
        Self { location: Location::file(path, "default"), origin: origin.to_owned() }
    }

    /// Returns the location of a store in memory.
    pub fn in_memory(origin: &str) -> Self {
        Self { location: Location::Memory, origin: origin.to_owned() }
    }

    fn parse(address: &str, origin: &str) -> Result<Self, SettingsError> {
        let location = address.parse::<Location>().map_err(|bad| refused(address, origin, &bad))?;
        if let Location::Redis { url, .. } = &location {
            if url.has_password() && origin == STORE_FLAG {
                return Err(SettingsError::invalid(
                    "--store: a password on the command line can be read by every user of this machine; \
                     nothing was opened",
                )
                .hint("put the address into the environment variable EVENT_REPLAY_STORE"));
            }
            adapters::redis::check(url).map_err(|bad| refused(address, origin, &bad))?;
        }
        let location = match location {
            Location::Sqlite { path, namespace } => {
                Location::Sqlite { path: anchored_path(path, origin), namespace }
            }
            other => other,
        };
        Ok(Self { location, origin: origin.to_owned() })
    }

    /// Returns the location.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Returns the origin.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Returns the path if the location is a file.
    pub fn path(&self) -> Option<&Path> {
        self.location.path()
    }

    /// Returns whether the store is on Redis.
    pub fn is_redis(&self) -> bool {
        matches!(self.location, Location::Redis { .. })
    }

    /// Returns the same location with another namespace.
    #[must_use]
    pub fn with_namespace(&self, namespace: &str) -> Self {
        Self { location: self.location.clone().with_namespace(namespace), origin: self.origin.clone() }
    }
}

fn refused(address: &str, origin: &str, bad: &BadLocation) -> SettingsError {
    let what = match bad {
        BadLocation::NoKind => {
            let shown = escape::short(address, 80);
            format!("{shown:?} is not a store address (for a file write sqlite:{shown})")
        }
        BadLocation::UnknownKind(kind) => format!("{:?} is not a kind of store", escape::short(kind, 40)),
        other => other.to_string(),
    };
    SettingsError::invalid(format!("{origin}: {what}")).hint(FORMS)
}

impl fmt::Display for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape::line(&self.location.to_string()))
    }
}

impl fmt::Debug for StoreLocation {
    /// Uses the display form, which has no password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreLocation({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(address: &str, origin: &str) -> Result<StoreLocation, SettingsError> {
        StoreLocation::resolve(Some(&(address.to_owned(), origin.to_owned())))
    }

    #[test]
    fn addresses_are_read_strictly() {
        let file = parse("sqlite:events.db?namespace=blue", "--store").unwrap();
        assert_eq!(file.path(), Some(Path::new("events.db")));
        assert_eq!(file.location().namespace(), "blue");
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
        assert!(!format!("{location:?} {:?}", location.location()).contains("pw"));
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
            let Location::Redis { url, namespace } = location.location() else { panic!("{location}") };
            (url.reveal().to_owned(), namespace.clone(), location.to_string())
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
            ("redis+both://one", "is not a kind of store"),
        ] {
            let refused = parse(address, "--store").unwrap_err();
            assert!(format!("{refused:?}").contains(because), "{address}: {refused:?}");
        }
    }
}
