//! The outcome of each event of a batch: stored, already stored, a conflict, erased, or not stored because another
//! event was refused.
//!
//! The engine looks up the ids in the log, and this module derives the outcomes. An engine settles the known outcome
//! of each pending event, stores the events that are still pending, settles these too, and reads all outcomes.

use std::collections::HashMap;

use crate::{
    event::{Event, same_content},
    ports::{
        engine::IdState,
        event_store::{AppendOutcome, Atomicity},
    },
    position::Position,
};

/// A batch on its way into a partition, with the outcomes that are known so far.
#[derive(Debug)]
pub struct Resolution<'a> {
    batch: &'a [Event],
    atomicity: Atomicity,
    /// For each event, the index of the first event with the same id.
    firsts: Vec<usize>,
    settled: Vec<Option<AppendOutcome>>,
}

impl<'a> Resolution<'a> {
    /// Starts a resolution in which no event is settled.
    pub fn new(batch: &'a [Event], atomicity: Atomicity) -> Self {
        let mut first_of_id = HashMap::with_capacity(batch.len());
        let firsts = batch
            .iter()
            .enumerate()
            .map(|(index, event)| *first_of_id.entry(event.id()).or_insert(index))
            .collect();
        Self { batch, atomicity, firsts, settled: vec![None; batch.len()] }
    }

    /// Returns the indexes of the events to look up or to store. The first event of each id is pending until it is
    /// settled. If the first event conflicts with the log, a later event of the id with other content is pending too.
    /// The log may hold this content.
    pub fn pending(&self) -> Vec<usize> {
        let is_pending = |index: usize, first: usize| {
            self.outcome(index).is_none()
                && (index == first
                    || (matches!(self.outcome(first), Some(AppendOutcome::Conflict(_)))
                        && !self.is_same(first, index)))
        };
        let firsts = self.firsts.iter().enumerate();
        firsts.filter(|(index, first)| is_pending(*index, **first)).map(|(index, _)| index).collect()
    }

    /// Returns whether an all-or-nothing batch has two contents for one id. The store then stores no event of the
    /// batch, regardless of the log.
    pub fn is_contradictory(&self) -> bool {
        self.atomicity == Atomicity::AllOrNothing
            && self.firsts.iter().enumerate().any(|(index, first)| !self.is_same(*first, index))
    }

    /// Records the outcome of an event.
    pub fn settle(&mut self, index: usize, outcome: AppendOutcome) {
        if let Some(settled) = self.settled.get_mut(index) {
            *settled = Some(outcome);
        }
    }

    /// Returns whether an outcome that is settled so far prevents the storing of any event of the batch.
    pub fn is_refused(&self) -> bool {
        self.atomicity == Atomicity::AllOrNothing && self.settled.iter().flatten().any(refuses)
    }

    /// Returns the outcome of each event. An event that is not settled and is the first of its id was not stored. Any
    /// other event that is not settled follows the first event of its id.
    pub fn outcomes(&self) -> Vec<AppendOutcome> {
        (0..self.batch.len()).map(|index| self.outcome_of(index)).collect()
    }

    fn outcome_of(&self, index: usize) -> AppendOutcome {
        if let Some(own) = self.outcome(index) {
            return own;
        }
        let first = self.firsts.get(index).copied().unwrap_or(index);
        let same = self.is_same(first, index);
        match self.outcome(first) {
            None if same => AppendOutcome::NotStored,
            // The first event of the id has no position and gets none.
            None => AppendOutcome::Conflict(Position::new(0, 0)),
            Some(AppendOutcome::Stored(at) | AppendOutcome::AlreadyStored(at)) if same => {
                AppendOutcome::AlreadyStored(at)
            }
            Some(AppendOutcome::Stored(at) | AppendOutcome::AlreadyStored(at)) => AppendOutcome::Conflict(at),
            Some(other) => other,
        }
    }

    fn outcome(&self, index: usize) -> Option<AppendOutcome> {
        self.settled.get(index).copied().flatten()
    }

    fn is_same(&self, one: usize, other: usize) -> bool {
        one == other
            || matches!((self.batch.get(one), self.batch.get(other)), (Some(one), Some(other)) if one.same_content(other))
    }
}

/// Returns whether this outcome prevents the storing of any event of an all-or-nothing batch.
pub fn refuses(outcome: &AppendOutcome) -> bool {
    matches!(outcome, AppendOutcome::Conflict(_) | AppendOutcome::Erased)
}

/// Returns the outcome of an event whose id the log knows. `stored` is the JSON of the stored event. Returns none if
/// the stored event was removed in the meantime: the caller then looks up the id again.
pub fn known_outcome(
    event: &Event,
    state: IdState,
    partition: u16,
    stored: Option<&str>,
) -> Option<AppendOutcome> {
    match state {
        IdState::Erased => Some(AppendOutcome::Erased),
        IdState::Stored(sequence) => {
            let position = Position::new(partition, sequence);
            Some(match same_content(stored?, event.json()) {
                true => AppendOutcome::AlreadyStored(position),
                false => AppendOutcome::Conflict(position),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Document, Limits};

    fn event(id: &str, n: u8) -> Event {
        let json = format!(
            r#"{{"id":"{id}","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}},"data":{n}}}"#
        );
        Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
    }

    fn at(sequence: u64) -> Position {
        Position::new(0, sequence)
    }

    #[test]
    fn repeats_follow_the_first_of_their_id() {
        let batch = [event("a", 1), event("a", 1), event("a", 2), event("b", 1)];
        let mut resolution = Resolution::new(&batch, Atomicity::Each);
        assert_eq!(resolution.pending(), [0, 3]);
        resolution.settle(0, AppendOutcome::Stored(at(1)));
        resolution.settle(3, AppendOutcome::Stored(at(2)));
        assert_eq!(resolution.pending(), [0; 0]);
        let expected = [
            AppendOutcome::Stored(at(1)),
            AppendOutcome::AlreadyStored(at(1)),
            AppendOutcome::Conflict(at(1)),
            AppendOutcome::Stored(at(2)),
        ];
        assert_eq!(resolution.outcomes(), expected);
    }

    #[test]
    fn what_contradicts_a_conflict_may_be_what_the_log_has() {
        let batch = [event("a", 1), event("a", 2)];
        let mut resolution = Resolution::new(&batch, Atomicity::Each);
        resolution.settle(0, AppendOutcome::Conflict(at(7)));
        assert_eq!(resolution.pending(), [1]);
        resolution.settle(1, AppendOutcome::AlreadyStored(at(7)));
        assert_eq!(resolution.pending(), [0; 0]);
        assert_eq!(
            resolution.outcomes(),
            [AppendOutcome::Conflict(at(7)), AppendOutcome::AlreadyStored(at(7))]
        );
    }

    #[test]
    fn all_or_nothing_stores_nothing_where_one_is_refused() {
        let batch = [event("a", 1), event("b", 1), event("b", 2)];
        assert!(Resolution::new(&batch, Atomicity::AllOrNothing).is_contradictory());
        assert!(!Resolution::new(&batch, Atomicity::Each).is_contradictory());
        let mut resolution = Resolution::new(&batch[..2], Atomicity::AllOrNothing);
        resolution.settle(0, AppendOutcome::Erased);
        assert!(resolution.is_refused());
        assert_eq!(resolution.outcomes(), [AppendOutcome::Erased, AppendOutcome::NotStored]);
    }

    #[test]
    fn an_event_is_known_by_the_content_that_is_stored() {
        let (one, other) = (event("a", 1), event("a", 2));
        let stored = |event: &Event, state| known_outcome(event, state, 3, Some(one.json()));
        let position = Position::new(3, 5);
        assert_eq!(stored(&one, IdState::Stored(5)), Some(AppendOutcome::AlreadyStored(position)));
        assert_eq!(stored(&other, IdState::Stored(5)), Some(AppendOutcome::Conflict(position)));
        assert_eq!(stored(&one, IdState::Erased), Some(AppendOutcome::Erased));
        assert_eq!(known_outcome(&one, IdState::Stored(5), 0, None), None);
    }
}
