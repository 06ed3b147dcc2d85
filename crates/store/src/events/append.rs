//! Appends a batch. Each partition gets its part of the batch, all partitions at once.
//!
//! A partition stores its part in one step, whole or not at all. When a server fails in between, some parts may be
//! stored and others not. The answer then gives the outcome of each event. For an all-or-nothing batch the answer is
//! that the outcome is unknown. The caller can append the same batch again. The store recognises the stored events by
//! their ids.

use domain::{
    Event, StorageFailure,
    batch::{Resolution, refuses},
    event::Limits,
    ports::{
        AppendOutcome, Atomicity, EventStoreError,
        engine::{Appended, Transaction},
    },
};

use super::lookup::known;
use crate::{Store, divided::Divided, partition::Partition, reached::partly};

impl Store {
    pub(super) async fn append_batch(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        self.check_size(batch)?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        if self.is_single() {
            return Ok(append(self.first(), batch, atomicity).await?);
        }
        let divided = Divided::new(self, batch.iter().map(|event| (self.partition_of(event), event.clone())));
        if atomicity == Atomicity::AllOrNothing && divided.parts().len() > 1 {
            let checks =
                divided.ask(AppendOutcome::NotStored, |(partition, batch)| check(partition, batch)).await?;
            if checks.iter().any(refuses) {
                return Ok(checks);
            }
        }
        let answers = divided.each(|(partition, batch)| append(partition, batch, atomicity)).await;
        if atomicity == Atomicity::AllOrNothing
            && let Some(failure) = failed(&divided, &answers)
        {
            return Err(failure.into());
        }
        let each_of =
            |((_, part), answer): ((_, &[Event]), Result<Vec<AppendOutcome>, StorageFailure>)| match answer {
                Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
                Err(failure) => vec![Err(failure); part.len()],
            };
        let outcomes =
            divided.gather(Ok(AppendOutcome::NotStored), divided.parts().zip(answers).map(each_of));
        // The answer lists the outcomes even when all of these partitions failed. Other partitions were not asked, so
        // their events need not wait for these.
        if outcomes.iter().any(Result::is_err) {
            return Err(EventStoreError::PartiallyFailed(outcomes));
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    pub(super) fn check_size(&self, batch: &[Event]) -> Result<(), EventStoreError> {
        let limits = self.info().limits;
        let bytes: usize = batch.iter().map(Event::size_bytes).sum();
        let is_single =
            batch.len() == 1 && bytes <= Limits::default().max_event_bytes.max(limits.append_bytes);
        if batch.len() > limits.append_events || (bytes > limits.append_bytes && !is_single) {
            return Err(EventStoreError::BatchTooLarge {
                max_events: limits.append_events,
                max_bytes: limits.append_bytes,
            });
        }
        Ok(())
    }
}

async fn append(
    partition: Partition<'_>,
    batch: &[Event],
    atomicity: Atomicity,
) -> Result<Vec<AppendOutcome>, StorageFailure> {
    match partition.engine.append(partition.number, batch, atomicity, &Transaction::default()).await? {
        Appended::Done(outcomes) => Ok(outcomes),
        Appended::Refused { .. } => {
            Err(StorageFailure::Other("the engine refused an append without guards".to_owned()))
        }
    }
}

/// Returns the outcomes that an all-or-nothing batch would have now. An event whose id the log does not know counts as
/// not stored. Stores nothing.
pub(super) async fn check(
    partition: Partition<'_>,
    batch: &[Event],
) -> Result<Vec<AppendOutcome>, StorageFailure> {
    let mut resolution = Resolution::new(batch, Atomicity::AllOrNothing);
    let ids: Vec<&str> = batch.iter().map(Event::id).collect();
    for (index, (event, (state, entry))) in batch.iter().zip(partition.entries_of(&ids).await?).enumerate() {
        if let Some(outcome) = known(event, partition.number, state, entry.as_ref()) {
            resolution.settle(index, outcome);
        }
    }
    Ok(resolution.outcomes())
}

/// Returns the failure of an all-or-nothing batch. It claims no more about the batch than is known.
fn failed(
    divided: &Divided<'_, Event>,
    answers: &[Result<Vec<AppendOutcome>, StorageFailure>],
) -> Option<StorageFailure> {
    let is_new = |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::Stored(_));
    let is_copied_too_little =
        |answer: &Result<_, StorageFailure>| matches!(answer, Err(StorageFailure::TooFewCopies { .. }));
    let some_stored =
        answers.iter().flatten().flatten().any(is_new) || answers.iter().any(is_copied_too_little);
    let mut first: Option<StorageFailure> = None;
    for ((partition, _), answer) in divided.parts().zip(answers) {
        let Err(failure) = answer else { continue };
        let failure = match some_stored {
            true => partly(failure.clone(), partition.number),
            false => failure.clone(),
        };
        // A single unknown outcome makes the outcome of the batch unknown, whichever other failures there are.
        if first.is_none() || matches!(failure, StorageFailure::Unknown(_)) {
            first = Some(failure);
        }
    }
    first
}
