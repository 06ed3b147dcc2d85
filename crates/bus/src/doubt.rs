//! What stays unknown of a write that is tried again.
//!
//! The answer to a try says nothing of the tries before it. Where the answer to one was lost, the event may be stored, also where the
//! next try cannot reach the store. So the failure that is reported is the one that leaves it open, until a try settles it.

use domain::{Retry, StorageFailure, ports::EventStoreError};

/// The last failure of a write that leaves open whether it was done, or says that it was done in part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Doubt(Option<StorageFailure>);

impl Doubt {
    /// What one failed append leaves open.
    pub(crate) fn of(error: &EventStoreError) -> Self {
        let mut doubt = Self::default();
        doubt.note_error(error);
        doubt
    }

    /// Notes the failure of a try.
    pub(crate) fn note(&mut self, failure: &StorageFailure) {
        if failure.retry() == Retry::ToSettle {
            self.0 = Some(failure.clone());
        }
    }

    /// Notes why an append failed.
    pub(crate) fn note_error(&mut self, error: &EventStoreError) {
        if let EventStoreError::Storage(failure) = error {
            self.note(failure);
        }
    }

    /// What is to be reported of a write whose last try failed so.
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

    /// The same of an append.
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
