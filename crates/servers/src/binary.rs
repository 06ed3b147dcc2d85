//! The programs that can be started.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Error;

/// A server program that is installed: Redis or Valkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// `redis` or `valkey`.
    pub name: String,
    /// As the program says it, such as `7.0.15`.
    pub version: String,
    /// Where the program is; a bare name is looked for in `PATH`.
    pub path: PathBuf,
}

impl Binary {
    /// Every program that `tests/servers/install` found or fetched, the one of Debian first. Where that script never ran,
    /// the `redis-server` in `PATH` alone.
    ///
    /// # Errors
    /// None is installed, or one that was is gone.
    pub fn all() -> Result<Vec<Self>, Error> {
        match list().and_then(|list| fs::read_to_string(list).ok()) {
            Some(lines) => lines.lines().map(Self::from_line).collect(),
            None => Ok(vec![Self::at("redis-server")?]),
        }
    }

    /// The installed program of a name and a major version, such as `redis` and 7; the first where there are several, none
    /// where there is none.
    ///
    /// # Errors
    /// As [`Binary::all`].
    pub fn installed(name: &str, major: u32) -> Result<Option<Self>, Error> {
        let is_wanted = |binary: &Self| binary.name == name && binary.major() == major;
        match Self::all() {
            Ok(all) => Ok(all.into_iter().find(is_wanted)),
            // Nothing was ever installed, so neither was this.
            Err(Error::CannotRun { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The program at `path`, asked for its name and version.
    ///
    /// # Errors
    /// It cannot be run, or is no server.
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

    /// The first number of the version: 7 for `7.0.15`; 0 where it is unknown.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.version.split('.').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// A line `name path version` of the list that `tests/servers/install` writes.
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

/// The program named by `EVENT_REPLAY_REDIS_SERVER`, else `redis-server` in `PATH`. Where it cannot be run its version is
/// `unknown`, and starting it says why.
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

/// Where `tests/servers/install` lists what it found.
fn list() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("event-replay/servers/binaries"))
}

/// From `Redis server v=7.0.15 sha=…`.
fn name_and_version(said: &str) -> Option<(String, String)> {
    let name = said.split_whitespace().next()?.to_ascii_lowercase();
    let version = said.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    Some((name, version.to_owned()))
}
