//! Answers of several partitions when some of them may be unreachable.

use domain::{StorageFailure, ports::GroupStoreError};

/// Errors that say whether a partition was unreachable.
pub(crate) trait Unreached {
    /// Returns whether the partition was unreachable.
    fn is_unreached(&self) -> bool;
}

impl Unreached for StorageFailure {
    fn is_unreached(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl Unreached for GroupStoreError {
    fn is_unreached(&self) -> bool {
        matches!(self, Self::Storage(failure) if failure.is_unreached())
    }
}

/// Returns the answers of the reachable partitions, and none for each unreachable one. An unreachable partition does
/// not block the others.
///
/// # Errors
/// Returns the error when no partition was reachable, or when a partition failed in another way.
pub(crate) fn reached<T, E: Unreached>(answers: Vec<Result<T, E>>) -> Result<Vec<Option<T>>, E> {
    if answers.iter().all(|answer| answer.as_ref().is_err_and(E::is_unreached)) {
        return answers.into_iter().map(|answer| answer.map(Some)).collect();
    }
    let reached = |answer: Result<T, E>| match answer {
        Err(error) if error.is_unreached() => Ok(None),
        answer => answer.map(Some),
    };
    answers.into_iter().map(reached).collect()
}

/// Returns the failure of one partition when other partitions performed the request.
pub(crate) fn partly(failure: StorageFailure, partition: u16) -> StorageFailure {
    match failure {
        // Both failures already cover a partial result.
        StorageFailure::Unknown(_) | StorageFailure::TooFewCopies { .. } => failure,
        failure => {
            StorageFailure::Unknown(format!("partition {partition}: {failure}; other partitions did it"))
        }
    }
}
