//! Settings that make no sense, or cannot be read.

use std::path::PathBuf;

use thiserror::Error;

/// Why the settings could not be resolved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A setting, or where settings come from, makes no sense.
    #[error("{what}")]
    Invalid {
        /// Which, what is wrong with it, and where it came from.
        what: String,
        /// What to do about it.
        advice: Option<&'static str>,
    },
    /// The file that a setting names for the Redis password cannot be read.
    #[error("the file with the Redis password, {}: {error}", file.display())]
    PasswordFile {
        /// The file.
        file: PathBuf,
        /// Why it cannot be read.
        error: std::io::Error,
    },
}

impl SettingsError {
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), advice: None }
    }

    /// Adds what to do.
    pub(crate) fn hint(self, advice: &'static str) -> Self {
        match self {
            Self::Invalid { what, .. } => Self::Invalid { what, advice: Some(advice) },
            other => other,
        }
    }
}
