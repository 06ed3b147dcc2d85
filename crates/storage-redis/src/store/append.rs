//! Appending: each partition is given its part of the batch, all of them at once.
//!
//! A part is one step of its partition: it is there or it is not. Of several parts some may be there and others not, where a
//! server fails in between: the answer then says so of each event; of a batch that is all or nothing, that the outcome is
//! unknown. Appending the same again settles it, as what is there is recognised by its ids.

use domain::{
    Event, Position, StorageFailure,
    ports::{AppendOutcome, Atomicity, EventStoreError},
};
use futures_util::future::join_all;

use super::{RedisStore, in_part};
use crate::{
    append::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS},
    failure::shape,
    partition::Partition,
};

/// The part of a batch that falls to one partition: its events, and where they stand in the batch.
struct Part<'a> {
    partition: &'a Partition,
    events: Vec<Event>,
    places: Vec<usize>,
}

impl RedisStore {
    pub(super) async fn append_to_partitions(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let bytes: usize = batch.iter().map(Event::size_bytes).sum();
        if batch.len() > MAX_BATCH_EVENTS || (bytes > MAX_BATCH_BYTES && batch.len() > 1) {
            return Err(EventStoreError::BatchTooLarge {
                max_events: MAX_BATCH_EVENTS,
                max_bytes: MAX_BATCH_BYTES,
            });
        }
        if let Some(only) = self.only() {
            return Ok(append(only, batch, atomicity).await?);
        }
        let parts = self.parts_of(batch);
        if atomicity == Atomicity::AllOrNothing && parts.len() > 1 {
            let checks = parts.iter().map(|part| part.partition.check_batch(&part.events));
            let checks = each_of(batch.len(), &parts, &join_all(checks).await);
            let checks: Vec<AppendOutcome> = checks.into_iter().collect::<Result<_, StorageFailure>>()?;
            if checks.iter().any(crate::append::refuses) {
                return Ok(checks);
            }
        }
        let answers =
            join_all(parts.iter().map(|part| append(part.partition, &part.events, atomicity))).await;
        if atomicity == Atomicity::AllOrNothing
            && let Some(failure) = failed(&parts, &answers)
        {
            return Err(failure.into());
        }
        let outcomes = each_of(batch.len(), &parts, &answers);
        // Also where all of it failed: other partitions were not asked, and need not wait for this one.
        if outcomes.iter().any(Result::is_err) {
            return Err(EventStoreError::InPart(outcomes));
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    fn parts_of(&self, batch: &[Event]) -> Vec<Part<'_>> {
        let mut parts: Vec<Part<'_>> = self
            .partitions()
            .iter()
            .map(|partition| Part { partition, events: Vec::new(), places: Vec::new() })
            .collect();
        for (place, event) in batch.iter().enumerate() {
            if let Some(part) = parts.get_mut(self.partition_of(event)) {
                part.events.push(event.clone());
                part.places.push(place);
            }
        }
        parts.retain(|part| !part.events.is_empty());
        parts
    }
}

async fn append(
    partition: &Partition,
    batch: &[Event],
    atomicity: Atomicity,
) -> Result<Vec<AppendOutcome>, StorageFailure> {
    match partition.append_batch(batch, atomicity, None).await? {
        Ok(outcomes) => Ok(outcomes),
        // Nothing went with it that could be refused.
        Err(_) => Err(shape("an append")),
    }
}

/// The failure of a batch that stands or falls as a whole, which says no more of it than is known.
fn failed(
    parts: &[Part<'_>],
    answers: &[Result<Vec<AppendOutcome>, StorageFailure>],
) -> Option<StorageFailure> {
    let is_new = |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::Stored(_));
    let is_copied_too_little =
        |answer: &Result<_, StorageFailure>| matches!(answer, Err(StorageFailure::TooFewCopies { .. }));
    let some_stored =
        answers.iter().flatten().flatten().any(is_new) || answers.iter().any(is_copied_too_little);
    let mut first: Option<StorageFailure> = None;
    for (part, answer) in parts.iter().zip(answers) {
        let Err(failure) = answer else { continue };
        let failure = match some_stored {
            true => in_part(failure.clone(), part.partition.number()),
            false => failure.clone(),
        };
        // Whatever else failed, where one is unknown the whole is.
        if first.is_none() || matches!(failure, StorageFailure::Unknown(_)) {
            first = Some(failure);
        }
    }
    first
}

/// What became of each event, in the order of the batch.
fn each_of(
    events: usize,
    parts: &[Part<'_>],
    answers: &[Result<Vec<AppendOutcome>, StorageFailure>],
) -> Vec<Result<AppendOutcome, StorageFailure>> {
    let mut outcomes = vec![Ok(AppendOutcome::NotStored); events];
    for (part, answer) in parts.iter().zip(answers) {
        for (at, place) in part.places.iter().enumerate() {
            let Some(own) = outcomes.get_mut(*place) else { continue };
            *own = match answer {
                Ok(of_part) => {
                    let outcome = of_part.get(at).copied().unwrap_or(AppendOutcome::NotStored);
                    Ok(outward(outcome, part.partition.number()))
                }
                Err(failure) => Err(failure.clone()),
            };
        }
    }
    outcomes
}

/// An outcome in a partition as the world knows it.
pub(super) fn outward(outcome: AppendOutcome, partition: u16) -> AppendOutcome {
    let outward = |position: Position| Position::new(partition, position.sequence);
    match outcome {
        AppendOutcome::Stored(at) => AppendOutcome::Stored(outward(at)),
        AppendOutcome::AlreadyStored(at) => AppendOutcome::AlreadyStored(outward(at)),
        AppendOutcome::Conflict(at) => AppendOutcome::Conflict(outward(at)),
        other => other,
    }
}
