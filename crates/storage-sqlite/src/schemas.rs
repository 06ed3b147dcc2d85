//! Users' schemas.

use async_trait::async_trait;
use domain::ports::{Describes, SchemaRecord, SchemaStore, SchemaStoreError};
use rusqlite::Row;

use crate::{
    failure::sqlite,
    state::{from_micros, micros},
    store::SqliteStore,
};

fn read(row: &Row<'_>) -> rusqlite::Result<SchemaRecord> {
    let (version, describes): (String, String) = (row.get(1)?, row.get(4)?);
    Ok(SchemaRecord {
        event_type: row.get(0)?,
        event_version: Some(version).filter(|version| !version.is_empty()),
        document: row.get(2)?,
        pointer: row.get(3)?,
        describes: if describes == "data" { Describes::Data } else { Describes::Event },
        added_at: from_micros(row.get(5)?),
    })
}

#[async_trait]
impl SchemaStore for SqliteStore {
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), SchemaStoreError> {
        self.writer()
            .await?
            .transact(move |transaction, _, _| {
                let describes = match record.describes {
                    Describes::Event => "event",
                    Describes::Data => "data",
                };
                transaction
                    .execute(
                        "INSERT OR REPLACE INTO event_schema \
                         (event_type, event_version, document, pointer, describes, added_at) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        (
                            record.event_type,
                            record.event_version.unwrap_or_default(),
                            record.document,
                            record.pointer,
                            describes,
                            micros(record.added_at),
                        ),
                    )
                    .map_err(sqlite)?;
                Ok(())
            })
            .await?;
        Ok(())
    }

    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, SchemaStoreError> {
        self.reading(|connection, _| {
            let mut statement = connection
                .prepare(
                    "SELECT event_type, event_version, document, pointer, describes, added_at \
                     FROM event_schema ORDER BY event_type, event_version",
                )
                .map_err(sqlite)?;
            let found = statement.query_map([], read).map_err(sqlite)?;
            Ok(found.collect::<Result<_, _>>().map_err(sqlite)?)
        })
        .await
    }

    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, SchemaStoreError> {
        let key = (event_type.to_owned(), event_version.unwrap_or_default().to_owned());
        let removed = self
            .writer()
            .await?
            .transact(move |transaction, _, _| {
                transaction
                    .execute("DELETE FROM event_schema WHERE event_type = ?1 AND event_version = ?2", key)
                    .map_err(sqlite)
            })
            .await?;
        Ok(removed > 0)
    }
}
