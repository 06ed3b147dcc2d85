//! Checkpoints.

use async_trait::async_trait;
use domain::{
    Checkpoint, Cursor, StorageFailure,
    ports::{CheckpointStore, CheckpointStoreError},
};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    failure::sqlite,
    state::{from_micros, micros},
    store::SqliteStore,
};

const SELECT: &str = "SELECT id, name, mark, event_id, events, metadata, created_at, hold FROM checkpoint";

fn read(row: &Row<'_>) -> rusqlite::Result<Result<Checkpoint, StorageFailure>> {
    let (mark, metadata): (String, String) = (row.get(2)?, row.get(5)?);
    let name: String = row.get(1)?;
    let damaged = |what| StorageFailure::Corrupt(format!("the {what} of checkpoint {name:?} is damaged"));
    let (Ok(mark), Ok(metadata)) = (
        mark.parse().map_err(|_| damaged("mark")),
        serde_json::from_str(&metadata).map_err(|_| damaged("metadata")),
    ) else {
        return Ok(Err(damaged("mark or metadata")));
    };
    Ok(Ok(Checkpoint {
        id: row.get(0)?,
        mark,
        last_processed_event_id: row.get(3)?,
        event_count: row.get::<_, i64>(4)? as u64,
        metadata,
        created_at: from_micros(row.get(6)?),
        hold: row.get(7)?,
        name,
    }))
}

fn find(connection: &Connection, name_or_id: &str) -> Result<Option<Checkpoint>, StorageFailure> {
    connection
        .query_row(
            &format!("{SELECT} WHERE name = ?1 OR id = ?1 ORDER BY name = ?1 DESC LIMIT 1"),
            [name_or_id],
            read,
        )
        .optional()
        .map_err(sqlite)?
        .transpose()
}

/// The marks of the checkpoints that hold, each with what it is called.
pub(crate) fn holding(connection: &Connection) -> Result<Vec<(Cursor, String)>, StorageFailure> {
    let mut statement = connection
        .prepare_cached("SELECT mark, name FROM checkpoint WHERE hold ORDER BY created_at, id")
        .map_err(sqlite)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
        .map_err(sqlite)?;
    rows.map(|row| {
        let (mark, name) = row.map_err(sqlite)?;
        let mark = mark
            .parse()
            .map_err(|_| StorageFailure::Corrupt(format!("the mark of checkpoint {name:?} is damaged")))?;
        Ok((mark, format!("checkpoint {name}")))
    })
    .collect()
}

#[async_trait]
impl CheckpointStore for SqliteStore {
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError> {
        let name = checkpoint.name.clone();
        let saved = self
            .writer()
            .await?
            .transact(move |transaction, _, _| {
                let or_else = if replace {
                    "UPDATE SET id = excluded.id, mark = excluded.mark, event_id = excluded.event_id, \
                     events = excluded.events, metadata = excluded.metadata, created_at = excluded.created_at, \
                     hold = excluded.hold"
                } else {
                    "NOTHING"
                };
                let metadata = serde_json::Value::Object(checkpoint.metadata).to_string();
                transaction
                    .execute(
                        &format!(
                            "INSERT INTO checkpoint (id, name, mark, event_id, events, metadata, created_at, hold) \
                             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (name) DO {or_else}"
                        ),
                        (
                            checkpoint.id,
                            checkpoint.name,
                            checkpoint.mark.to_string(),
                            checkpoint.last_processed_event_id,
                            checkpoint.event_count as i64,
                            metadata,
                            micros(checkpoint.created_at),
                            checkpoint.hold,
                        ),
                    )
                    .map_err(sqlite)
            })
            .await?;
        if saved == 0 { Err(CheckpointStoreError::NameTaken(name)) } else { Ok(()) }
    }

    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError> {
        let wanted = name_or_id.to_owned();
        self.reading(move |connection, _| Ok(find(connection, &wanted)?)).await
    }

    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError> {
        self.reading(|connection, _| {
            let mut statement =
                connection.prepare(&format!("{SELECT} ORDER BY created_at, id")).map_err(sqlite)?;
            let found = statement.query_map([], read).map_err(sqlite)?;
            found.map(|row| Ok(row.map_err(sqlite)??)).collect()
        })
        .await
    }

    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError> {
        let wanted = name_or_id.to_owned();
        let deleted = self
            .writer()
            .await?
            .transact(move |transaction, _, _| {
                let Some(found) = find(transaction, &wanted)? else { return Ok(0) };
                transaction.execute("DELETE FROM checkpoint WHERE name = ?1", [found.name]).map_err(sqlite)
            })
            .await?;
        Ok(deleted > 0)
    }
}
