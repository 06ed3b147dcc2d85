//! Appending: each partition is given its part of the batch, all of them at once.
//!
//! A part is one step of its partition: it is there or it is not. Of several parts some may be there and others not, where a
//! server fails in between: the answer then says so of each event; of a batch that is all or nothing, that the outcome is
//! unknown. Appending the same again settles it, as what is there is recognised by its ids.

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
        // Also where all of it failed: other partitions were not asked, and need not wait for this one.
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

/// What would become of an all-or-nothing batch now, as far as it is known: what is not is not stored. Stores nothing.
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

/// The failure of a batch that stands or falls as a whole, which says no more of it than is known.
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
        // Whatever else failed, where one is unknown the whole is.
        if first.is_none() || matches!(failure, StorageFailure::Unknown(_)) {
            first = Some(failure);
        }
    }
    first
}
