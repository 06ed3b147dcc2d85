//! Appends events and retries until the outcome is known.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use backon::Retryable;
use domain::{
    Event, Expectation, Jitter, RETRY_WITHIN, Retry, RetryPolicy, StorageFailure,
    ports::{AppendOutcome, Atomicity, EventStore, EventStoreError},
    stats::{APPEND_FAILED, APPENDED},
    time::whole_micros,
};
use stats::Meter;

use crate::doubt::Doubt;

/// Appends events to a store, retries faults that a retry can cure, and counts the outcomes.
pub(crate) struct Appender {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) policy: RetryPolicy,
    pub(crate) meter: Option<Meter>,
}

/// The outcome of one event.
pub(crate) type AppendResult = Result<AppendOutcome, EventStoreError>;

/// The outcome of each event of a batch. `again` lists the events that failed in part of the store and may be retried.
pub(crate) struct Parted {
    pub(crate) answers: Vec<AppendResult>,
    pub(crate) again: Vec<usize>,
}

impl Appender {
    /// Appends events in one step, all of them or none.
    pub(crate) async fn all_or_nothing(
        &self,
        batch: &[Event],
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let outcomes = self.append(batch, Atomicity::AllOrNothing).await;
        match &outcomes {
            // The store works. The caller asked for more than the store appends in one step.
            Ok(_) | Err(EventStoreError::BatchTooLarge { .. }) => {}
            Err(_) => self.count_failed(batch.len()),
        }
        outcomes
    }

    /// Appends events in order, each with its own outcome. The method halves a batch that is too large for the store.
    /// If the store fails, every event that is not appended by then gets that failure. Returns one result for each
    /// event.
    pub(crate) async fn each(&self, batch: &[Event]) -> Vec<AppendResult> {
        let Parted { mut answers, mut again } = self.each_part(batch).await;
        let mut pauses = pauses(self.policy);
        while !again.is_empty() {
            let Some(pause) = pauses.next() else { break };
            tokio::time::sleep(pause).await;
            let events: Vec<Event> = again.iter().filter_map(|at| batch.get(*at).cloned()).collect();
            let parted = self.each_part(&events).await;
            for (at, answer) in again.iter().zip(parted.answers) {
                if let Some(own) = answers.get_mut(*at) {
                    let doubt = own.as_ref().err().map(Doubt::of).unwrap_or_default();
                    *own = answer.map_err(|error| doubt.or_error(error));
                }
            }
            again = parted.again.iter().filter_map(|of_rest| again.get(*of_rest).copied()).collect();
        }
        self.count_failed(again.len());
        answers
    }

    /// Does the same as [`Self::each`], but does not retry events that failed in part of the store. The other events
    /// need not wait for that retry.
    pub(crate) async fn each_part(&self, batch: &[Event]) -> Parted {
        let mut answers: Vec<AppendResult> = Vec::with_capacity(batch.len());
        let mut again = Vec::new();
        let mut size = batch.len().max(1);
        while let Some(rest) = batch.get(answers.len()..).filter(|rest| !rest.is_empty()) {
            let piece = rest.get(..size).unwrap_or(rest);
            match self.append(piece, Atomicity::Each).await {
                Ok(outcomes) => answers.extend(outcomes.into_iter().map(Ok)),
                Err(EventStoreError::BatchTooLarge { .. }) if piece.len() > 1 => {
                    size = piece.len().div_ceil(2);
                }
                Err(EventStoreError::PartiallyFailed(outcomes)) if outcomes.len() == piece.len() => {
                    for outcome in outcomes {
                        match &outcome {
                            Err(failure) if failure.retry() != Retry::Never => again.push(answers.len()),
                            Err(_) => self.count_failed(1),
                            Ok(_) => {}
                        }
                        answers.push(outcome.map_err(EventStoreError::from));
                    }
                }
                Err(error) => {
                    // The size of this one event says nothing about the other events.
                    let is_its_own = matches!(error, EventStoreError::BatchTooLarge { .. });
                    let failed = if is_its_own { piece.len() } else { rest.len() };
                    self.count_failed(failed);
                    answers.extend(std::iter::repeat_n(Err(error), failed));
                }
            }
        }
        Parted { answers, again }
    }

    /// Appends a batch. Repeats it with the same ids and bytes after transient faults and after lost answers. An event
    /// that an earlier try stored then answers `AlreadyStored`, so a repeat never stores an event twice. After a lost
    /// answer, the reported failure says that the outcome is unknown, even if the last try failed for another reason.
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        self.repeat(batch.len(), || self.store.append(batch, atomicity)).await
    }

    /// Appends an event if an expectation holds.
    pub(crate) async fn expecting(&self, event: &Event, expectation: &Expectation) -> AppendResult {
        let batch = std::slice::from_ref(event);
        let outcomes = self.repeat(1, || self.store.append_expecting(batch, expectation)).await;
        match outcomes {
            Ok(outcomes) => outcomes.first().copied().ok_or_else(|| unexpected(1, 0)),
            Err(error) => {
                // The store works. The log has changed since the caller decided.
                let is_refused =
                    matches!(error, EventStoreError::Unexpected(_) | EventStoreError::Uncheckable(_));
                self.count_failed(usize::from(!is_refused));
                Err(error)
            }
        }
    }

    /// Makes an append of `events` events and repeats it as [`Self::append`] describes.
    async fn repeat<F>(
        &self,
        events: usize,
        append: impl FnMut() -> F,
    ) -> Result<Vec<AppendOutcome>, EventStoreError>
    where
        F: Future<Output = Result<Vec<AppendOutcome>, EventStoreError>>,
    {
        let (began, mut doubt) = (Instant::now(), Doubt::default());
        let outcomes = append
            .retry(pauses(self.policy))
            .when(|error| {
                doubt.note_error(error);
                error.retry() != Retry::Never && !matches!(error, EventStoreError::PartiallyFailed(_))
            })
            .await
            .map_err(|error| doubt.or_error(error))?;
        if outcomes.len() != events {
            return Err(unexpected(events, outcomes.len()));
        }
        if let Some(meter) = &self.meter {
            let micros = whole_micros(began.elapsed());
            meter.add(APPENDED, "", events as u64, micros.max(1));
        }
        Ok(outcomes)
    }

    fn count_failed(&self, events: usize) {
        if let Some(meter) = &self.meter {
            meter.count(APPEND_FAILED, "", events as u64);
        }
    }
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appender").field("policy", &self.policy).finish_non_exhaustive()
    }
}

/// Returns the pauses between the tries of a call that begins now. They end [`RETRY_WITHIN`] after the first try.
pub(crate) fn pauses(policy: RetryPolicy) -> impl Iterator<Item = Duration> + Send + Sync + Unpin {
    let first_try = tokio::time::Instant::now();
    policy.pauses(Jitter::Added, fastrand::f64).take_while(move |_| first_try.elapsed() < RETRY_WITHIN)
}

/// Returns the error for a store that answered for another number of events than the batch has.
fn unexpected(asked: usize, answered: usize) -> EventStoreError {
    let detail = format!("it answered {answered} outcomes to a batch of {asked}");
    StorageFailure::Other(detail).into()
}
