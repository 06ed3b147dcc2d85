//! Answers of several partitions, some of which may be out of reach.

use domain::{StorageFailure, ports::GroupStoreError};

/// Errors that say whether a partition could not be reached.
pub(crate) trait Unreached {
    /// Whether the partition could not be reached.
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

/// What the partitions answered that could be reached; none for one that could not. A partition out of reach does not hold up
/// the others.
///
/// # Errors
/// Where none could be reached, and any other failure.
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

/// A failure of one partition while others did what they were asked for.
pub(crate) fn partly(failure: StorageFailure, partition: u16) -> StorageFailure {
    match failure {
        // Either says all there is to know.
        StorageFailure::Unknown(_) | StorageFailure::TooFewCopies { .. } => failure,
        failure => {
            StorageFailure::Unknown(format!("partition {partition}: {failure}; other partitions did it"))
        }
    }
}
