//! Users' schemas.

use std::collections::HashMap;

use async_trait::async_trait;
use domain::{
    StorageFailure,
    ports::{Describes, SchemaRecord, SchemaStore, SchemaStoreError},
};
use rusqlite::{Connection, Row};
use sha2::{Digest, Sha256};

use crate::{
    failure::sqlite,
    state::{from_micros, micros},
    store::SqliteStore,
};

/// Stands before a version in its column; a schema for every version has an empty one.
const OF_VERSION: char = '=';

fn version_column(version: Option<&str>) -> String {
    version.map_or_else(String::new, |version| format!("{OF_VERSION}{version}"))
}

fn read(row: &Row<'_>, documents: &HashMap<Vec<u8>, String>) -> rusqlite::Result<SchemaRecord> {
    let (version, describes): (String, String) = (row.get(1)?, row.get(4)?);
    let digest: Vec<u8> = row.get(2)?;
    Ok(SchemaRecord {
        event_type: row.get(0)?,
        event_version: version.strip_prefix(OF_VERSION).map(str::to_owned),
        document: documents.get(&digest).cloned().unwrap_or_default(),
        pointer: row.get(3)?,
        describes: if describes == "data" { Describes::Data } else { Describes::Event },
        added_at: from_micros(row.get(5)?),
    })
}

fn list(connection: &Connection) -> Result<Vec<SchemaRecord>, StorageFailure> {
    let mut statement = connection.prepare("SELECT digest, text FROM schema_document").map_err(sqlite)?;
    let documents = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(sqlite)?;
    let documents = documents.collect::<Result<HashMap<_, _>, _>>().map_err(sqlite)?;
    let mut statement = connection
        .prepare(
            "SELECT event_type, event_version, document, pointer, describes, added_at \
             FROM event_schema ORDER BY event_type, event_version",
        )
        .map_err(sqlite)?;
    let records = statement.query_map([], |row| read(row, &documents)).map_err(sqlite)?;
    records.collect::<Result<_, _>>().map_err(sqlite)
}

fn drop_unused_documents(connection: &Connection) -> Result<(), StorageFailure> {
    connection
        .execute("DELETE FROM schema_document WHERE digest NOT IN (SELECT document FROM event_schema)", [])
        .map_err(sqlite)?;
    Ok(())
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
                let digest: [u8; 32] = Sha256::digest(record.document.as_bytes()).into();
                transaction
                    .execute(
                        "INSERT OR IGNORE INTO schema_document (digest, text) VALUES (?1, ?2)",
                        (digest, record.document),
                    )
                    .map_err(sqlite)?;
                transaction
                    .execute(
                        "INSERT OR REPLACE INTO event_schema \
                         (event_type, event_version, document, pointer, describes, added_at) \
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                        (
                            record.event_type,
                            version_column(record.event_version.as_deref()),
                            digest,
                            record.pointer,
                            describes,
                            micros(record.added_at),
                        ),
                    )
                    .map_err(sqlite)?;
                drop_unused_documents(transaction)
            })
            .await?;
        Ok(())
    }

    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, SchemaStoreError> {
        self.reading(|connection, _| Ok(list(connection)?)).await
    }

    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, SchemaStoreError> {
        let key = (event_type.to_owned(), version_column(event_version));
        let removed = self
            .writer()
            .await?
            .transact(move |transaction, _, _| {
                let removed = transaction
                    .execute("DELETE FROM event_schema WHERE event_type = ?1 AND event_version = ?2", key)
                    .map_err(sqlite)?;
                drop_unused_documents(transaction)?;
                Ok(removed)
            })
            .await?;
        Ok(removed > 0)
    }
}
