//! Appending: the rows of a batch, inside the writer's transaction.

use domain::{
    Event, Position, StorageFailure,
    event::head,
    ports::{AppendOutcome, Atomicity, Keeps},
};
use rusqlite::{Connection, OptionalExtension};
use sha2::{Digest, Sha256};

use crate::{
    failure::sqlite,
    fold::Tail,
    rows,
    state::{State, micros},
    terms::Kinds,
};

/// Most events of one batch.
pub(crate) const MAX_BATCH_EVENTS: usize = 100_000;
/// Most bytes of one batch.
pub(crate) const MAX_BATCH_BYTES: usize = 256 * 1024 * 1024;

/// Appends batches within a transaction.
pub(crate) struct Appender<'a> {
    connection: &'a Connection,
    /// Microseconds.
    now: i64,
    any_tombstones: bool,
}

impl<'a> Appender<'a> {
    pub(crate) fn new(connection: &'a Connection, now: i64) -> Result<Self, StorageFailure> {
        let any_tombstones = connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM tombstone)")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .map_err(sqlite)?;
        Ok(Self { connection, now, any_tombstones })
    }

    pub(crate) fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
        state: &mut State,
        kinds: &mut Kinds,
        tail: &mut Tail,
    ) -> Result<Vec<AppendOutcome>, StorageFailure> {
        if atomicity == Atomicity::AllOrNothing
            && let Some(refused) = self.refusal(batch)?
        {
            return Ok(refused);
        }
        batch.iter().map(|event| self.append_one(event, state, kinds, tail)).collect()
    }

    /// Appends one event, or says what stands in its way.
    pub(crate) fn append_one(
        &self,
        event: &Event,
        state: &mut State,
        kinds: &mut Kinds,
        tail: &mut Tail,
    ) -> Result<AppendOutcome, StorageFailure> {
        if self.is_erased(event.id())? {
            return Ok(AppendOutcome::Erased);
        }
        let (seq, stored_at) = (state.head + 1, state.stored_at.max(self.now));
        let claimed = self
            .connection
            .prepare_cached("INSERT INTO event_id (id, seq) VALUES (?1, ?2) ON CONFLICT DO NOTHING")
            .and_then(|mut statement| statement.execute((event.id(), seq as i64)))
            .map_err(sqlite)?;
        if claimed == 0 {
            return self.known(event)?.ok_or_else(|| {
                StorageFailure::Corrupt(format!("the id {:?} has no place in the log", event.id()))
            });
        }
        self.connection
            .prepare_cached("INSERT INTO event (seq, at, stored_at, head, json) VALUES (?1, ?2, ?3, ?4, ?5)")
            .and_then(|mut statement| {
                let at = micros(event.timestamp());
                statement.execute((seq as i64, at, stored_at, head::encode(event), event.json()))
            })
            .map_err(sqlite)?;
        state.head = seq;
        state.stored_at = stored_at;
        state.events += 1;
        state.bytes += event.size_bytes() as u64;
        if state.keeps == Keeps::History {
            tail.push(self.connection, kinds, seq, event)?;
        }
        Ok(AppendOutcome::Stored(Position::new(0, seq)))
    }

    /// What an event is to one of the same id, if there is one.
    pub(crate) fn known(&self, event: &Event) -> Result<Option<AppendOutcome>, StorageFailure> {
        let Some(seq) = rows::position_of(self.connection, event.id())? else { return Ok(None) };
        let same = self
            .connection
            .prepare_cached("SELECT json FROM event WHERE seq = ?1")
            .and_then(|mut statement| {
                statement
                    .query_row([seq as i64], |row| {
                        let json = row.get_ref(0)?;
                        Ok(json.as_str().is_ok_and(|json| domain::event::same_content(json, event.json())))
                    })
                    .optional()
            })
            .map_err(sqlite)?;
        let position = Position::new(0, seq);
        Ok(Some(match same {
            Some(true) => AppendOutcome::AlreadyStored(position),
            _ => AppendOutcome::Conflict(position),
        }))
    }

    /// Whether the event of an id was erased.
    pub(crate) fn is_erased(&self, id: &str) -> Result<bool, StorageFailure> {
        if !self.any_tombstones {
            return Ok(false);
        }
        self.connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM tombstone WHERE digest = ?1)")
            .and_then(|mut statement| statement.query_row([tombstone(id)], |row| row.get(0)))
            .map_err(sqlite)
    }

    /// The outcomes of an all-or-nothing batch that cannot be stored; none if it can. Writes nothing.
    fn refusal(&self, batch: &[Event]) -> Result<Option<Vec<AppendOutcome>>, StorageFailure> {
        let mut first_of_id: std::collections::HashMap<&str, &Event> = std::collections::HashMap::new();
        let mut outcomes = Vec::with_capacity(batch.len());
        for event in batch {
            let outcome = if self.is_erased(event.id())? {
                AppendOutcome::Erased
            } else if let Some(known) = self.known(event)? {
                known
            } else {
                let first = *first_of_id.entry(event.id()).or_insert(event);
                if first.same_content(event) {
                    AppendOutcome::NotStored
                } else {
                    // The first of them has no position, nor will it get one.
                    AppendOutcome::Conflict(Position::new(0, 0))
                }
            };
            outcomes.push(outcome);
        }
        let refused =
            |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::Conflict(_) | AppendOutcome::Erased);
        Ok(outcomes.iter().any(refused).then_some(outcomes))
    }
}

/// What a tombstone keeps of an erased id.
pub(crate) fn tombstone(id: &str) -> [u8; 32] {
    Sha256::digest(id.as_bytes()).into()
}
