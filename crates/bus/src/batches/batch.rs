//! The deliveries of one call, and their answers.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use domain::{Delivery, HandlerError, delivery::Verdict};

use crate::trace::{self, TraceParent};

/// A delivery of a batch, with its place in its trace.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) delivery: Delivery,
    pub(super) trace: Option<TraceParent>,
}

impl Member {
    /// Takes the place in the trace from the task of the delivery. The call of the batch runs in another task.
    pub(super) fn new(delivery: &Delivery) -> Self {
        Self { delivery: delivery.clone(), trace: trace::current() }
    }
}

/// The deliveries of one call of a batch handler.
#[derive(Debug)]
pub struct DeliveryBatch {
    members: Vec<Member>,
    failures: Mutex<BTreeMap<usize, HandlerError>>,
}

impl DeliveryBatch {
    pub(super) fn new(members: Vec<Member>) -> Self {
        Self { members, failures: Mutex::default() }
    }

    /// Returns the deliveries.
    pub fn deliveries(&self) -> impl ExactSizeIterator<Item = &Delivery> {
        self.members.iter().map(|member| &member.delivery)
    }

    /// Returns the number of deliveries, which is at least 1.
    #[allow(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns the place of a delivery in its trace, if it has one.
    pub fn trace(&self, index: usize) -> Option<TraceParent> {
        self.members.get(index).and_then(|member| member.trace)
    }

    /// Marks a delivery as failed. The other deliveries are not affected. A later mark replaces an earlier one. A mark
    /// after the end of the call has no effect.
    pub fn fail(&self, index: usize, error: HandlerError) {
        self.failures().insert(index, error);
    }

    /// Returns the answer of a delivery, by the outcome of the call.
    pub(super) fn answer(
        &self,
        index: usize,
        outcome: &Result<(), HandlerError>,
    ) -> Result<(), HandlerError> {
        if let Some(error) = self.failures().get(&index) {
            return Err(error.clone());
        }
        match outcome {
            // The permanent error of one delivery must not give up its neighbours.
            Err(error) if self.members.len() > 1 && error.verdict == Verdict::GiveUp => {
                Err(HandlerError { verdict: Verdict::Retry, ..error.clone() })
            }
            outcome => outcome.clone(),
        }
    }

    /// Locks the marks. Each change of the map is a single insertion.
    fn failures(&self) -> MutexGuard<'_, BTreeMap<usize, HandlerError>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
