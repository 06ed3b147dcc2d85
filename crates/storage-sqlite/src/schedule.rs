//! Events that wait for their time.

use async_trait::async_trait;
use domain::{
    Event, StorageFailure,
    event::{head, same_content},
    ports::{AppendOutcome, ScheduleOutcome, ScheduleStore, ScheduleStoreError, ScheduledEvent},
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    append::Appender,
    failure::sqlite,
    groups::execute,
    rows,
    state::{exact, from_exact, from_micros},
    store::SqliteStore,
    verify_groups::Found,
};

/// Bytes of events that one transaction moves into the log, give or take the last event.
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;

fn schedule(
    connection: &Connection,
    event: &Event,
    due: Timestamp,
    now: i64,
) -> Result<ScheduleOutcome, StorageFailure> {
    let log = Appender::new(connection, now)?;
    if log.is_erased(event.id())? {
        return Ok(ScheduleOutcome::Erased);
    }
    if let Some((json, due)) = waiting(connection, event.id())? {
        return Ok(match same_content(&json, event.json()) {
            true => ScheduleOutcome::AlreadyScheduled(from_exact(&due)?),
            false => ScheduleOutcome::Conflict,
        });
    }
    match log.known(event)? {
        Some(AppendOutcome::AlreadyStored(position)) => return Ok(ScheduleOutcome::AlreadyStored(position)),
        Some(_) => return Ok(ScheduleOutcome::Conflict),
        None => {}
    }
    execute(
        connection,
        "INSERT INTO scheduled (id, due, scheduled_at, head, json) VALUES (?1, ?2, ?3, ?4, ?5)",
        (event.id(), exact(due), now, head::encode(event), event.json()),
    )?;
    Ok(ScheduleOutcome::Scheduled)
}

/// The text of the event that waits under an id, and when it is due.
fn waiting(connection: &Connection, id: &str) -> Result<Option<(String, String)>, StorageFailure> {
    connection
        .prepare_cached("SELECT json, due FROM scheduled WHERE id = ?1")
        .and_then(|mut statement| statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional())
        .map_err(sqlite)
}

/// A scheduled event, with its number.
fn decode(row: &Row<'_>) -> Result<(i64, ScheduledEvent), StorageFailure> {
    let number: i64 = row.get(0).map_err(sqlite)?;
    let due: String = row.get(1).map_err(sqlite)?;
    let event = rows::copy(row, 3)
        .map_err(sqlite)?
        .ok_or_else(|| StorageFailure::Corrupt(format!("the scheduled event in row {number} is damaged")))?;
    let scheduled_at = from_micros(row.get(2).map_err(sqlite)?);
    Ok((number, ScheduledEvent { event, due: from_exact(&due)?, scheduled_at }))
}

/// The earliest events, those that are due at or before an instant.
fn earliest(
    connection: &Connection,
    until: &str,
    limit: usize,
    max_bytes: usize,
) -> Result<Vec<(i64, ScheduledEvent)>, StorageFailure> {
    let mut statement = connection
        .prepare_cached(
            "SELECT number, due, scheduled_at, head, json FROM scheduled WHERE due <= ?1 \
             ORDER BY due, number LIMIT ?2",
        )
        .map_err(sqlite)?;
    let mut rows = statement.query((until, i64::try_from(limit).unwrap_or(i64::MAX))).map_err(sqlite)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while bytes < max_bytes
        && let Some(row) = rows.next().map_err(sqlite)?
    {
        let (number, scheduled) = decode(row)?;
        bytes += scheduled.event.size_bytes();
        found.push((number, scheduled));
    }
    Ok(found)
}

/// When the next event is due, as it stands in its column.
fn next_due(connection: &Connection) -> Result<Option<String>, StorageFailure> {
    connection
        .prepare_cached("SELECT min(due) FROM scheduled")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(sqlite)
}

/// Scheduled events that cannot be read.
pub(crate) fn unreadable(connection: &Connection) -> Result<Vec<Found>, StorageFailure> {
    let mut statement = connection
        .prepare("SELECT number, due, scheduled_at, head, json FROM scheduled ORDER BY number")
        .map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite)? {
        match decode(row) {
            Err(StorageFailure::Corrupt(detail)) => found.push((None, detail)),
            other => drop(other?),
        }
    }
    Ok(found)
}

/// Scheduled events for which this holds, with their numbers. One that cannot be read cannot say.
pub(crate) fn matching(
    connection: &Connection,
    wanted: impl Fn(&Event) -> bool,
) -> Result<Vec<(i64, Event)>, StorageFailure> {
    let mut found = Vec::new();
    let mut statement =
        connection.prepare_cached("SELECT number, head, json FROM scheduled").map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    while let Some(row) = rows.next().map_err(sqlite)? {
        if let Some(event) = rows::copy(row, 1).map_err(sqlite)?.filter(&wanted) {
            found.push((row.get(0).map_err(sqlite)?, event));
        }
    }
    Ok(found)
}

/// Takes an event out of the schedule.
pub(crate) fn remove(connection: &Connection, number: i64) -> Result<(), StorageFailure> {
    execute(connection, "DELETE FROM scheduled WHERE number = ?1", [number]).map(drop)
}

#[async_trait]
impl ScheduleStore for SqliteStore {
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, ScheduleStoreError> {
        let (event, now) = (event.clone(), self.now());
        Ok(self
            .writer()
            .await?
            .transact(move |transaction, _, _| schedule(transaction, &event, due, now))
            .await?)
    }

    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, ScheduleStoreError> {
        self.reading(move |connection, _| {
            let found = earliest(connection, &exact(Timestamp::MAX), limit, usize::MAX)?;
            Ok(found.into_iter().map(|(_, scheduled)| scheduled).collect())
        })
        .await
    }

    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, ScheduleStoreError> {
        let id = event_id.to_owned();
        let cancelled = self
            .writer()
            .await?
            .transact(move |transaction, _, _| {
                execute(transaction, "DELETE FROM scheduled WHERE id = ?1", [id])
            })
            .await?;
        Ok(cancelled > 0)
    }

    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, ScheduleStoreError> {
        let now = exact(self.clock().now());
        // Asked often, and mostly nothing is due: then the file is not locked.
        let next = self.reading(|connection, _| Ok::<_, ScheduleStoreError>(next_due(connection)?)).await?;
        if next.is_none_or(|due| due > now) {
            return Ok(Vec::new());
        }
        Ok(self
            .writer()
            .await?
            .run(move |writer| {
                writer.append_with(|transaction, append| {
                    let due = earliest(transaction, &now, limit.max(1), BYTES_AT_ONCE)?;
                    let mut outcomes = Vec::with_capacity(due.len());
                    for (number, scheduled) in due {
                        let outcome = append(&scheduled.event)?;
                        remove(transaction, number)?;
                        outcomes.push((scheduled.event.id().to_owned(), outcome));
                    }
                    Ok(outcomes)
                })
            })
            .await?)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, ScheduleStoreError> {
        self.reading(|connection, _| Ok(next_due(connection)?.as_deref().map(from_exact).transpose()?)).await
    }
}
