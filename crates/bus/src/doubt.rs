//! The unknown outcome of a write that is retried.
//!
//! The answer to one try says nothing about earlier tries. If an answer was lost, the event may be stored, even if the
//! next try cannot reach the store. So the reported failure is the failure with the unknown outcome, until a later try
//! decides the outcome.

use domain::{Retry, StorageFailure, ports::EventStoreError};

/// The last failure that leaves the outcome of a write unknown, or that reports a partial write.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubt(Option<StorageFailure>);

impl Doubt {
    /// Returns the doubt that one failed append leaves.
    pub(crate) fn of(error: &EventStoreError) -> Self {
        let mut doubt = Self::default();
        doubt.note_error(error);
        doubt
    }

    /// Records the failure of a try.
    pub(crate) fn note(&mut self, failure: &StorageFailure) {
        if failure.retry() == Retry::ToSettle {
            self.0 = Some(failure.clone());
        }
    }

    /// Records the failure of an append.
    pub(crate) fn note_error(&mut self, error: &EventStoreError) {
        if let EventStoreError::Storage(failure) = error {
            self.note(failure);
        }
    }

    /// Returns the failure to report for a write whose last try failed with `last`.
    pub(crate) fn or(&self, last: StorageFailure) -> StorageFailure {
        match &self.0 {
            None => last,
            Some(_) if last.retry() == Retry::ToSettle => last,
            Some(StorageFailure::Unknown(why)) => {
                StorageFailure::Unknown(format!("{why}; tried again, and {last}"))
            }
            Some(open) => open.clone(),
        }
    }

    /// Does the same as [`Self::or`] for an append.
    pub(crate) fn or_error(&self, last: EventStoreError) -> EventStoreError {
        match (last, &self.0) {
            (last, None) => last,
            (EventStoreError::Storage(last), Some(_)) => self.or(last).into(),
            (EventStoreError::PartiallyFailed(outcomes), Some(_)) => {
                let or = |outcome: Result<_, StorageFailure>| outcome.map_err(|last| self.or(last));
                EventStoreError::PartiallyFailed(outcomes.into_iter().map(or).collect())
            }
            (_, Some(open)) => open.clone().into(),
        }
    }
}
