//! The installed server programs.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Error;

/// An installed server program: Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// `redis` or `valkey`.
    pub name: String,
    /// The version as the program prints it, such as `7.0.15`.
    pub version: String,
    /// The path of the program. A bare name is searched in `PATH`.
    pub path: PathBuf,
}

impl Binary {
    /// Returns all programs that `tests/servers/install` found or downloaded, the Debian package first. Without the
    /// list of that script, returns only the `redis-server` in `PATH`.
    ///
    /// # Errors
    /// Returns [`Error::NotInstalled`] when a listed program no longer exists. Returns [`Error::CannotRun`] when there
    /// is no list and no `redis-server`.
    pub fn all() -> Result<Vec<Self>, Error> {
        match list().and_then(|list| fs::read_to_string(list).ok()) {
            Some(lines) => lines.lines().map(Self::from_line).collect(),
            None => Ok(vec![Self::at("redis-server")?]),
        }
    }

    /// Returns the first installed program with a name and a major version, such as `redis` and 7. Returns `None` if
    /// there is no such program.
    ///
    /// # Errors
    /// Returns [`Error::NotInstalled`] in the same case as [`Binary::all`].
    pub fn installed(name: &str, major: u32) -> Result<Option<Self>, Error> {
        let is_wanted = |binary: &Self| binary.name == name && binary.major() == major;
        match Self::all() {
            Ok(all) => Ok(all.into_iter().find(is_wanted)),
            // No program is installed at all.
            Err(Error::CannotRun { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Runs the program at `path` with `--version`, and reads its name and version.
    ///
    /// # Errors
    /// Returns an [`Error`] when the program cannot be run, or is not a Redis or Valkey server.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let output = Command::new(&path)
            .arg("--version")
            .output()
            .map_err(|source| Error::CannotRun { path: path.clone(), source })?;
        let said = String::from_utf8_lossy(&output.stdout);
        let found = name_and_version(&said);
        let (name, version) = found
            .ok_or_else(|| Error::NotInstalled(format!("{} is no Redis server: {said}", path.display())))?;
        Ok(Self { name, version, path })
    }

    /// Returns the first number of the version, such as 7 for `7.0.15`. Returns 0 if the version is unknown.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Parses a line `name path version` of the list that `tests/servers/install` writes.
    fn from_line(line: &str) -> Result<Self, Error> {
        let mut words = line.split_whitespace();
        let (Some(name), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Err(Error::NotInstalled(format!("the list of servers has a line {line:?}")));
        };
        if !Path::new(path).is_file() {
            return Err(Error::NotInstalled(format!("{path} is gone")));
        }
        Ok(Self { name: name.to_owned(), version: version.to_owned(), path: path.into() })
    }
}

/// The program in `EVENT_REPLAY_REDIS_SERVER`, otherwise `redis-server` in `PATH`. If the program cannot be run, its
/// version is `unknown`, and the start of a server returns the reason.
impl Default for Binary {
    fn default() -> Self {
        let path = env::var_os("EVENT_REPLAY_REDIS_SERVER")
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| "redis-server".into());
        Self::at(&path).unwrap_or_else(|_| Self {
            name: "redis".to_owned(),
            version: "unknown".to_owned(),
            path: path.into(),
        })
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// Returns the path of the list that `tests/servers/install` writes.
fn list() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("event-replay/servers/binaries"))
}

/// Parses the first line of `--version`, such as `Redis server v=7.0.15 sha=…`.
fn name_and_version(said: &str) -> Option<(String, String)> {
    let name = said.split_whitespace().next()?.to_ascii_lowercase();
    let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some((name, version.to_owned()))
}
