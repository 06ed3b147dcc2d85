//! Dead letters: made by commits, looked at and closed by people.

use async_trait::async_trait;
use domain::{
    DeadLetter, DeadLetterState, StorageFailure,
    dead_letter::NewDeadLetter,
    group::{LaneOrigin, NewLaneBatch, segment_of},
    ports::{DeadLetterChange, DeadLetterCount, DeadLetterQuery, DeadLetterStore, DeadLetterStoreError},
};
use jiff::Timestamp;
use rusqlite::Connection;

use crate::{
    dead_letter_rows::{SELECT, columns, decode, find, find_where, new_id, put, state_column, state_of},
    failure::sqlite,
    groups::{self, execute},
    lanes, rows,
    state::{from_micros, micros},
    store::SqliteStore,
};

/// Keeps a delivery that a group gives up on, or merges it into the letter of its position.
pub(crate) fn give_up(
    connection: &Connection,
    group: &str,
    letter: &NewDeadLetter,
    now: i64,
) -> Result<(), StorageFailure> {
    if letter.position.partition != 0 {
        return Ok(());
    }
    let seq = letter.position.sequence;
    let known = find_where(connection, "grp = ?1 AND seq = ?2", (group, seq as i64))?;
    if let Some(mut known) = known {
        known.merge(letter.clone(), from_micros(now));
        return put(connection, &known);
    }
    let event = match rows::find(connection, seq)?.map(|row| row.event) {
        Some(Ok(event)) => event,
        Some(Err(detail)) => {
            tracing::warn!(group, position = %letter.position, detail, "no dead letter of a damaged event");
            return Ok(());
        }
        None => return Ok(()),
    };
    let letter = letter.clone();
    put(
        connection,
        &DeadLetter {
            id: new_id(now),
            group: group.to_owned(),
            position: letter.position,
            event,
            state: DeadLetterState::Open,
            attempts: letter.attempts,
            history: vec![letter.failure],
            fingerprint: letter.fingerprint,
            replay_id: letter.replay_id,
            parked: letter.parked,
            created_at: from_micros(now),
            updated_at: from_micros(now),
            reason: None,
        },
    )
}

/// Closes a letter whose redrive was handled.
pub(crate) fn handled(
    connection: &Connection,
    group: &str,
    id: &str,
    now: i64,
) -> Result<(), StorageFailure> {
    execute(
        connection,
        "UPDATE dead_letter SET state = 'handled', updated_at = ?3 \
         WHERE id = ?1 AND grp = ?2 AND state = 'redriving'",
        (id, group, now),
    )
    .map(drop)
}

fn set_state(
    connection: &Connection,
    id: &str,
    state: DeadLetterState,
    reason: Option<&str>,
    now: i64,
) -> Result<(), StorageFailure> {
    execute(
        connection,
        "UPDATE dead_letter SET state = ?2, reason = ?3, updated_at = ?4 WHERE id = ?1",
        (id, state_column(state), reason, now),
    )
    .map(drop)
}

fn redrive(connection: &Connection, id: &str, now: i64) -> Result<DeadLetterChange, StorageFailure> {
    let Some(letter) = find(connection, id)? else { return Ok(DeadLetterChange::Unknown) };
    if letter.state != DeadLetterState::Open {
        return Ok(DeadLetterChange::Unchanged(letter.state));
    }
    let origin = LaneOrigin::Redrive { dead_letter: id.to_owned() };
    if !put_into_lane(connection, &letter, origin)? {
        return Ok(DeadLetterChange::NoGroup);
    }
    set_state(connection, id, DeadLetterState::Redriving, None, now)?;
    Ok(DeadLetterChange::Done)
}

pub(crate) fn discard(
    connection: &Connection,
    id: &str,
    reason: &str,
    now: i64,
) -> Result<DeadLetterChange, StorageFailure> {
    let Some(letter) = find(connection, id)? else { return Ok(DeadLetterChange::Unknown) };
    if letter.state != DeadLetterState::Open {
        return Ok(DeadLetterChange::Unchanged(letter.state));
    }
    if letter.parked {
        // Where the group is gone, so is the key that waited.
        put_into_lane(connection, &letter, LaneOrigin::Discarded { dead_letter: id.to_owned() })?;
    }
    set_state(connection, id, DeadLetterState::Discarded, Some(reason), now)?;
    Ok(DeadLetterChange::Done)
}

/// Puts a letter into the lane of its key's segment; whether its group is there.
fn put_into_lane(
    connection: &Connection,
    letter: &DeadLetter,
    origin: LaneOrigin,
) -> Result<bool, StorageFailure> {
    let Some(group) = groups::find(connection, &letter.group)? else { return Ok(false) };
    let spec = &group.record.spec;
    let batch = NewLaneBatch {
        group: letter.group.clone(),
        segment: segment_of(&spec.key.of(&letter.event), 0, 1, spec.segments),
        origin,
        positions: vec![letter.position.sequence],
    };
    lanes::put(connection, group.number, &batch)?;
    Ok(true)
}

/// Letters of a query. Group and states are asked of the table; the rest is held against each letter.
fn query(connection: &Connection, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StorageFailure> {
    let states: Vec<String> =
        query.states.iter().map(|state| format!("'{}'", state_column(*state))).collect();
    let in_states = match states.is_empty() {
        true => String::new(),
        false => format!("AND state IN ({})", states.join(", ")),
    };
    let sql = format!("{SELECT} WHERE id > ?1 AND (?2 IS NULL OR grp = ?2) {in_states} ORDER BY id");
    let mut statement = connection.prepare_cached(&sql).map_err(sqlite)?;
    let after = query.after.as_deref().unwrap_or_default();
    let mut rows = statement.query((after, &query.group)).map_err(sqlite)?;
    let mut found = Vec::new();
    while found.len() < query.limit.max(1)
        && let Some(row) = rows.next().map_err(sqlite)?
    {
        if !query.fingerprints.is_empty() {
            let fingerprint = row.get_ref(5).map_err(sqlite)?.as_str().unwrap_or_default();
            if !query.fingerprints.contains(fingerprint) {
                continue;
            }
        }
        let letter = decode(columns(row).map_err(sqlite)?)?;
        if query.filter.matches(&letter.event) {
            found.push(letter);
        }
    }
    Ok(found)
}

fn counts(connection: &Connection) -> Result<Vec<DeadLetterCount>, StorageFailure> {
    let mut statement = connection
        .prepare_cached("SELECT grp, state, count(*), min(created_at) FROM dead_letter GROUP BY grp, state")
        .map_err(sqlite)?;
    let rows = statement.query_map([], |row| <(String, String, i64, i64)>::try_from(row)).map_err(sqlite)?;
    let mut counts = Vec::new();
    for row in rows {
        let (group, state, count, oldest) = row.map_err(sqlite)?;
        let state = state_of(&state)
            .ok_or_else(|| StorageFailure::Corrupt(format!("a dead letter is in no state, but {state:?}")))?;
        counts.push(DeadLetterCount { group, state, count: count as u64, oldest: from_micros(oldest) });
    }
    Ok(counts)
}

#[async_trait]
impl DeadLetterStore for SqliteStore {
    async fn dead_letters(&self, wanted: &DeadLetterQuery) -> Result<Vec<DeadLetter>, DeadLetterStoreError> {
        let wanted = wanted.clone();
        self.reading(move |connection, _| Ok(query(connection, &wanted)?)).await
    }

    async fn dead_letters_by_id(&self, ids: &[String]) -> Result<Vec<DeadLetter>, DeadLetterStoreError> {
        let ids = ids.to_vec();
        self.reading(move |connection, _| {
            let found = ids.iter().map(|id| find(connection, id)).collect::<Result<Vec<_>, _>>()?;
            Ok(found.into_iter().flatten().collect())
        })
        .await
    }

    async fn redrive(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, DeadLetterStoreError> {
        let (ids, now) = (ids.to_vec(), self.now());
        Ok(self
            .writer()
            .await?
            .transact(move |transaction, _, _| ids.iter().map(|id| redrive(transaction, id, now)).collect())
            .await?)
    }

    async fn discard(
        &self,
        ids: &[String],
        reason: &str,
    ) -> Result<Vec<DeadLetterChange>, DeadLetterStoreError> {
        let (ids, reason, now) = (ids.to_vec(), reason.to_owned(), self.now());
        Ok(self
            .writer()
            .await?
            .transact(move |transaction, _, _| {
                ids.iter().map(|id| discard(transaction, id, &reason, now)).collect()
            })
            .await?)
    }

    async fn count_dead_letters(&self) -> Result<Vec<DeadLetterCount>, DeadLetterStoreError> {
        self.reading(|connection, _| Ok(counts(connection)?)).await
    }

    async fn purge_dead_letters(&self, closed_before: Timestamp) -> Result<u64, DeadLetterStoreError> {
        let purged = self
            .writer()
            .await?
            .transact(move |transaction, _, _| {
                execute(
                    transaction,
                    "DELETE FROM dead_letter WHERE state IN ('handled', 'discarded') AND updated_at < ?1",
                    [micros(closed_before)],
                )
            })
            .await?;
        Ok(purged as u64)
    }
}
