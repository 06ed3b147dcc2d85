//! Contexts: named stores. At most one is current. Each user has them in `contexts.toml` in the configuration folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{error::SettingsError, secrets::has_password};
use crate::location::Location;

/// The name of the file.
const FILE_NAME: &str = "contexts.toml";

/// A store with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedStore {
    /// The address of the store, in the form of `--store`.
    pub store: String,
}

/// All contexts of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contexts {
    /// The name of the current context.
    pub current: Option<String>,
    /// The name of the context that was current before.
    pub previous: Option<String>,
    /// All contexts, by name.
    pub contexts: BTreeMap<String, NamedStore>,
}

impl Contexts {
    /// Reads the contexts of the user. Without a file or a home folder the result is empty.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when the file cannot be read.
    pub fn load() -> Result<Self, SettingsError> {
        match file() {
            Some(file) => Self::read(&file),
            None => Ok(Self::default()),
        }
    }

    fn read(file: &Path) -> Result<Self, SettingsError> {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(SettingsError::invalid(format!(
                    "{}: the file cannot be read: {error}",
                    file.display()
                )));
            }
        };
        toml::from_str(&text).map_err(|error| {
            SettingsError::invalid(format!("{}: the file is not valid: {error}", file.display()))
        })
    }

    /// Writes the contexts atomically: the whole file or nothing.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when the file cannot be written, or when there is no home folder.
    pub fn save(&self) -> Result<(), SettingsError> {
        let file =
            file().ok_or_else(|| SettingsError::invalid("there is no home folder to keep contexts in"))?;
        let failed = |error: std::io::Error| {
            SettingsError::invalid(format!("{}: the file cannot be written: {error}", file.display()))
        };
        let text = toml::to_string(self)
            .map_err(|error| SettingsError::invalid(format!("the contexts cannot be written: {error}")))?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let new = file.with_extension(format!("{}.new", std::process::id()));
        fs::write(&new, text).and_then(|()| fs::rename(&new, &file)).map_err(failed)
    }

    /// Adds a context. A relative file path is resolved against the folder `base`.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when the name or the address is not valid, or when the address contains a password.
    pub fn add(&mut self, name: &str, address: &str, base: &Path) -> Result<(), SettingsError> {
        check_name(name)?;
        if has_password(address) {
            return Err(SettingsError::invalid("a context does not keep passwords; nothing was changed")
                .hint("leave the password out, and set REDIS_PASSWORD or redis.password_file"));
        }
        let location: Location = address.parse().map_err(|bad: crate::location::BadLocation| {
            SettingsError::invalid(format!("{address:?}: {bad}"))
        })?;
        let store = match location {
            Location::Sqlite { path, namespace } => {
                Location::Sqlite { path: base.join(path), namespace }.to_string()
            }
            _ => address.to_owned(),
        };
        self.contexts.insert(name.to_owned(), NamedStore { store });
        Ok(())
    }

    /// Makes a context the current one and returns its name. The name `-` selects the context that was current before.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when no context has this name.
    pub fn switch(&mut self, name: &str) -> Result<String, SettingsError> {
        let name = match (name, &self.previous) {
            ("-", Some(previous)) => previous.clone(),
            ("-", None) => return Err(SettingsError::invalid("no context was in use before")),
            (name, _) => name.to_owned(),
        };
        self.get(&name)?;
        if self.current.as_ref() != Some(&name) {
            self.previous = self.current.replace(name.clone());
        }
        Ok(name)
    }

    /// Removes a context.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when no context has this name.
    pub fn remove(&mut self, name: &str) -> Result<(), SettingsError> {
        self.get(name)?;
        self.contexts.remove(name);
        for used in [&mut self.current, &mut self.previous] {
            if used.as_deref() == Some(name) {
                *used = None;
            }
        }
        Ok(())
    }

    /// Returns the context with this name.
    ///
    /// # Errors
    /// Returns [`SettingsError`] when no context has this name. The message suggests a similar name, or lists the known
    /// names.
    pub fn get(&self, name: &str) -> Result<&NamedStore, SettingsError> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
            let near = crate::app::near::near(name, known.iter().copied());
            let shown = crate::text::escape::short(name, 60);
            SettingsError::invalid(match (near.as_slice(), known.as_slice()) {
                ([], []) => format!("there is no context {shown:?}, and no other"),
                ([], known) => format!("there is no context {shown:?}; there are: {}", known.join(", ")),
                (near, _) => format!("there is no context {shown:?}; did you mean {}?", near.join(" or ")),
            })
        })
    }
}

fn check_name(name: &str) -> Result<(), SettingsError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) && name != "-" {
        true => Ok(()),
        false => Err(SettingsError::invalid(
            "a context's name has 1 to 64 letters, digits, dots, underscores or hyphens, and is not \"-\"",
        )),
    }
}

fn file() -> Option<PathBuf> {
    directories::ProjectDirs::from("", "", "event-replay").map(|dirs| dirs.config_dir().join(FILE_NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Contexts {
        let mut contexts = Contexts::default();
        contexts.add("prod", "redis://db.internal", Path::new("/work")).unwrap();
        contexts.add("local", "sqlite:events.db", Path::new("/work")).unwrap();
        contexts
    }

    #[test]
    fn the_context_before_is_a_hyphen() {
        let mut contexts = some();
        assert!(contexts.switch("-").is_err());
        assert_eq!(contexts.switch("prod").unwrap(), "prod");
        assert_eq!(contexts.switch("local").unwrap(), "local");
        assert_eq!(contexts.switch("-").unwrap(), "prod");
        assert_eq!(contexts.switch("-").unwrap(), "local");
        contexts.remove("prod").unwrap();
        assert!(contexts.switch("-").is_err());
        assert_eq!(contexts.current.as_deref(), Some("local"));
    }

    #[test]
    fn a_file_is_meant_from_where_it_was_named_and_a_password_is_refused() {
        let mut contexts = some();
        assert_eq!(contexts.get("local").unwrap().store, "sqlite:/work/events.db");
        let said = contexts.add("bad", "redis://me:secret@db", Path::new("/")).unwrap_err().to_string();
        assert!(said.contains("password") && !said.contains("secret"), "{said}");
        let said = contexts.get("pord").unwrap_err().to_string();
        assert_eq!(said, "there is no context \"pord\"; did you mean prod?");
        for name in ["", "-", "a b", "a/b"] {
            assert!(contexts.add(name, "memory:", Path::new("/")).is_err(), "{name:?}");
        }
    }
}
