//! Appending: each partition is given its part of the batch, all of them at once.
//!
//! A part is one step of its partition: it is there or it is not. Of several parts some may be there and others not, where a
//! server fails in between: the answer then says so of each event; of a batch that is all or nothing, that the outcome is
//! unknown. Appending the same again settles it, as what is there is recognised by its ids.

use domain::{
    Event, StorageFailure,
    batch::{Resolution, known_outcome, refuses},
    event::Limits,
    ports::{
        AppendOutcome, Atomicity, EventStoreError,
        engine::{Appended, IdState, Transaction},
    },
};
use futures_util::future::join_all;

use crate::{Store, partition::Partition, reached::partly};

/// The part of a batch that falls to one partition: its events, and where they stand in the batch.
struct Part<'s> {
    partition: Partition<'s>,
    events: Vec<Event>,
    places: Vec<usize>,
}

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
        let parts = self.parts_of(batch);
        if atomicity == Atomicity::AllOrNothing && parts.len() > 1 {
            let checks = join_all(parts.iter().map(|part| check(part.partition, &part.events))).await;
            let checks: Vec<AppendOutcome> =
                each_of(batch.len(), &parts, &checks).into_iter().collect::<Result<_, StorageFailure>>()?;
            if checks.iter().any(refuses) {
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

    fn check_size(&self, batch: &[Event]) -> Result<(), EventStoreError> {
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

    fn parts_of(&self, batch: &[Event]) -> Vec<Part<'_>> {
        let empty = |partition| Part { partition, events: Vec::new(), places: Vec::new() };
        let mut parts: Vec<Part<'_>> = self.partitions().map(empty).collect();
        for (place, event) in batch.iter().enumerate() {
            if let Some(part) = parts.get_mut(usize::from(self.partition_of(event))) {
                part.events.push(event.clone());
                part.places.push(place);
            }
        }
        parts.retain(|part| !part.events.is_empty());
        parts
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
async fn check(partition: Partition<'_>, batch: &[Event]) -> Result<Vec<AppendOutcome>, StorageFailure> {
    let mut resolution = Resolution::new(batch, Atomicity::AllOrNothing);
    let ids: Vec<&str> = batch.iter().map(Event::id).collect();
    let states = partition.locate(&ids).await?;
    let sequence = |state: &Option<IdState>| match state {
        Some(IdState::Stored(sequence)) => Some(*sequence),
        _ => None,
    };
    let sequences: Vec<u64> = states.iter().filter_map(sequence).collect();
    let mut stored = partition.at(&sequences).await?.into_iter();
    for (index, (event, state)) in batch.iter().zip(states).enumerate() {
        let Some(state) = state else { continue };
        let entry = match state {
            IdState::Stored(_) => stored.next().flatten(),
            IdState::Erased => None,
        };
        let json = match &entry {
            Some(Ok(stored)) => Some(stored.event.json()),
            // What is damaged equals nothing.
            Some(Err(_)) => Some(""),
            None => None,
        };
        if let Some(outcome) = known_outcome(event, state, partition.number, json) {
            resolution.settle(index, outcome);
        }
    }
    Ok(resolution.outcomes())
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
            true => partly(failure.clone(), part.partition.number),
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
    length: usize,
    parts: &[Part<'_>],
    answers: &[Result<Vec<AppendOutcome>, StorageFailure>],
) -> Vec<Result<AppendOutcome, StorageFailure>> {
    let mut all = vec![Ok(AppendOutcome::NotStored); length];
    for (part, answer) in parts.iter().zip(answers) {
        for (index, place) in part.places.iter().enumerate() {
            let own = match answer {
                Ok(outcomes) => Ok(outcomes.get(index).copied().unwrap_or(AppendOutcome::NotStored)),
                Err(failure) => Err(failure.clone()),
            };
            if let Some(place) = all.get_mut(*place) {
                *place = own;
            }
        }
    }
    all
}
