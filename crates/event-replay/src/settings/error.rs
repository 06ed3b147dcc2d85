//! Settings that are not valid, or that cannot be read.

use std::path::PathBuf;

use thiserror::Error;

/// The reason for which the settings could not be resolved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A setting or a source of settings is not valid.
    #[error("{what}")]
    Invalid {
        /// The setting, the problem, and the origin of the value.
        what: String,
        /// The next step for the user.
        advice: Option<&'static str>,
    },
    /// The file with the Redis password cannot be read.
    #[error("the file with the Redis password, {}: {error}", file.display())]
    PasswordFile {
        /// The path of the file.
        file: PathBuf,
        /// The I/O error.
        error: std::io::Error,
    },
}

impl SettingsError {
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), advice: None }
    }

    /// Adds the next step for the user.
    pub(crate) fn hint(self, advice: &'static str) -> Self {
        match self {
            Self::Invalid { what, .. } => Self::Invalid { what, advice: Some(advice) },
            other => other,
        }
    }
}
