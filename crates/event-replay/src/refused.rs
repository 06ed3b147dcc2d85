//! The reason for which a store was not opened.

use domain::StorageFailure;
use thiserror::Error;

use crate::location::{BadLocation, Location};

/// The reason for which a store was not opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The text is not a location. The error does not repeat the text, because it may contain a password.
    #[error("the location names no store: {0}")]
    Location(#[from] BadLocation),
    /// The program was built without the adapter for this kind of store.
    #[error("{location} needs the feature {feature:?} of the crate event-replay")]
    Feature {
        /// The location.
        location: Location,
        /// The cargo feature that adds the adapter.
        feature: &'static str,
    },
    /// The store does not exist, and the access does not permit to create it.
    #[error("there is no store at {location}")]
    Missing {
        /// The location.
        location: Location,
    },
    /// The location is a folder, but a store is a file.
    #[error("{location} is a folder, and a store is a file; nothing was changed")]
    Folder {
        /// The location.
        location: Location,
    },
    /// The storage engine failed.
    #[error("{location}: {failure}")]
    Storage {
        /// The location.
        location: Location,
        /// The failure of the storage engine.
        #[source]
        failure: StorageFailure,
    },
}

/// The reason for which an adapter did not open a store.
#[allow(dead_code, reason = "which of them there are is for the features to say")]
pub(crate) enum Refused {
    /// The store does not exist, and the access does not permit to create it.
    Missing,
    /// The program was built without the adapter.
    Feature(&'static str),
    /// The storage engine failed.
    Failed(StorageFailure),
}

impl Refused {
    /// Adds the location, and returns the public error.
    pub(crate) fn at(self, location: &Location) -> OpenError {
        let location = location.clone();
        match self {
            Self::Missing => OpenError::Missing { location },
            Self::Feature(feature) => OpenError::Feature { location, feature },
            Self::Failed(failure) => OpenError::Storage { location, failure },
        }
    }
}
