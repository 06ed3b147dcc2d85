//! Why a store was not opened.

use domain::StorageFailure;
use thiserror::Error;

use crate::location::{BadLocation, Location};

/// Why a store was not opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The text names no store. It is not repeated: it may hold a password.
    #[error("the location names no store: {0}")]
    Location(#[from] BadLocation),
    /// The adapter of this kind of store was left out of the program.
    #[error("{location} needs the feature {feature:?} of the crate event-replay")]
    Feature {
        /// The location.
        location: Location,
        /// The feature.
        feature: &'static str,
    },
    /// There is no store, and none was to be made.
    #[error("there is no store at {location}")]
    Missing {
        /// The location.
        location: Location,
    },
    /// The location is a folder, and a store is a file.
    #[error("{location} is a folder, and a store is a file; nothing was changed")]
    Folder {
        /// The location.
        location: Location,
    },
    /// The store failed.
    #[error("{location}: {failure}")]
    Storage {
        /// The location.
        location: Location,
        /// How it failed.
        #[source]
        failure: StorageFailure,
    },
}

/// Why an adapter did not open a store.
#[allow(dead_code, reason = "which of them there are is for the features to say")]
pub(crate) enum Refused {
    /// There is none, and none was to be made.
    Missing,
    /// The adapter was left out of the program.
    Feature(&'static str),
    /// It failed.
    Failed(StorageFailure),
}

impl Refused {
    /// It as an error that names the place.
    pub(crate) fn at(self, location: &Location) -> OpenError {
        let location = location.clone();
        match self {
            Self::Missing => OpenError::Missing { location },
            Self::Feature(feature) => OpenError::Feature { location, feature },
            Self::Failed(failure) => OpenError::Storage { location, failure },
        }
    }
}
