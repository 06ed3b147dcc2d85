//! Appends the rows of a batch in the writer's transaction.

use domain::{
    Event, Position, StorageFailure,
    batch::{Resolution, known_outcome},
    event::head,
    ports::{AppendOutcome, Atomicity, RetentionMode, engine::IdState},
    time::unix_micros,
};
use rusqlite::OptionalExtension;

use super::ids;
use crate::{failure::sqlite, state::PARTITION, writer::change::Change};

impl Change<'_> {
    /// Appends a batch. Returns one outcome for each event.
    pub(crate) fn append(
        &mut self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, StorageFailure> {
        let mut resolution = Resolution::new(batch, atomicity);
        if atomicity == Atomicity::AllOrNothing {
            self.settle_known(batch, &mut resolution)?;
            if resolution.is_contradictory() || resolution.is_refused() {
                return Ok(resolution.outcomes());
            }
        }
        loop {
            let pending = resolution.pending();
            if pending.is_empty() {
                return Ok(resolution.outcomes());
            }
            for (index, event) in events_at(batch, pending) {
                resolution.settle(index, self.append_one(event)?);
            }
        }
    }

    /// Records the outcome of each event whose id is already stored or erased. Writes nothing.
    fn settle_known(
        &mut self,
        batch: &[Event],
        resolution: &mut Resolution<'_>,
    ) -> Result<(), StorageFailure> {
        loop {
            let mut any = false;
            for (index, event) in events_at(batch, resolution.pending()) {
                let known = match self.is_erased(event.id())? {
                    true => Some(AppendOutcome::Erased),
                    false => self.stored_outcome(event)?,
                };
                if let Some(known) = known {
                    resolution.settle(index, known);
                    any = true;
                }
            }
            // A conflict of one event may make a later event with the same id pending, so the loop repeats.
            if !any {
                return Ok(());
            }
        }
    }

    /// Appends one event. Returns another outcome if its id is erased or already stored.
    fn append_one(&mut self, event: &Event) -> Result<AppendOutcome, StorageFailure> {
        if self.is_erased(event.id())? {
            return Ok(AppendOutcome::Erased);
        }
        let (seq, stored_at) = (self.state.head + 1, self.state.stored_at.max(self.now));
        let claimed = self
            .connection
            .prepare_cached("INSERT INTO event_id (id, seq) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
            .and_then(|mut statement| statement.execute((event.id(), seq as i64)))
            .map_err(sqlite)?;
        if claimed == 0 {
            return self.stored_outcome(event)?.ok_or_else(|| {
                StorageFailure::Corrupt(format!("the id {:?} has no place in the log", event.id()))
            });
        }
        self.connection
            .prepare_cached("INSERT INTO event (seq, at, stored_at, head, json) VALUES (?1, ?2, ?3, ?4, ?5)")
            .and_then(|mut statement| {
                let at = unix_micros(event.timestamp());
                statement.execute((seq as i64, at, stored_at, head::encode(event), event.json()))
            })
            .map_err(sqlite)?;
        self.state.head = seq;
        self.state.stored_at = stored_at;
        self.state.events += 1;
        self.state.bytes += event.size_bytes() as u64;
        if self.state.keeps == RetentionMode::History {
            self.tail.push(self.connection, self.kinds, seq, event)?;
        }
        Ok(AppendOutcome::Stored(Position::new(PARTITION, seq)))
    }

    /// Compares an event with the stored event of the same id. Returns none if the id is not stored.
    fn stored_outcome(&self, event: &Event) -> Result<Option<AppendOutcome>, StorageFailure> {
        let Some(seq) = ids::position_of(self.connection, event.id())? else { return Ok(None) };
        let outcome = self
            .connection
            .prepare_cached("SELECT json FROM event WHERE seq = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([seq as i64], |row| {
                        let json = row.get_ref(0)?.as_str().ok();
                        Ok(known_outcome(event, IdState::Stored(seq), PARTITION, json))
                    })
                    .optional()
            })
            .map_err(sqlite)?;
        // An id stays in use even if its event is lost or unreadable. `verify` reports such an event.
        let lost = AppendOutcome::Conflict(Position::new(PARTITION, seq));
        Ok(Some(outcome.flatten().unwrap_or(lost)))
    }
}

fn events_at(batch: &[Event], indexes: Vec<usize>) -> impl Iterator<Item = (usize, &Event)> {
    indexes.into_iter().filter_map(|index| Some((index, batch.get(index)?)))
}
