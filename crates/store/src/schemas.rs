//! Users' schemas, in partition 0: a row each, and the text of each schema file once, since one file often describes many types.

use async_trait::async_trait;
use domain::{
    StorageFailure,
    ports::{
        SchemaRecord, SchemaStore,
        engine::{
            Guard, Read, RowId, Space, SpaceKind, Transaction,
            rows::{Part, key},
        },
        schema_store::Describes,
    },
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    Store,
    retry::OptimisticRetry,
    rows::{SCHEMAS, corrupt, counter, from_json, named, text, to_json},
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaRow {
    event_type: String,
    event_version: Option<String>,
    /// The digest of the file.
    document: String,
    pointer: String,
    describes: Describes,
    added_at: Timestamp,
}

/// A schema without a version is one of its own, and comes before those that have one.
fn row_of(event_type: &str, event_version: Option<&str>) -> RowId {
    let mut parts = vec![Part::Text(event_type)];
    parts.extend(event_version.map(Part::Text));
    RowId::of(SpaceKind::Schema, key(&parts))
}

fn document_row(digest: &str) -> RowId {
    named(SpaceKind::SchemaDocument, digest)
}

fn digest_of(document: &str) -> String {
    Sha256::digest(document).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All schemas as they are kept, with what a change of them must not have missed.
struct Known {
    rows: Vec<(Vec<u8>, SchemaRow)>,
    version: Option<Vec<u8>>,
}

impl Store {
    async fn known_schemas(&self) -> Result<Known, StorageFailure> {
        let reads = [Read::Row(counter(SCHEMAS)), Read::all(Space::of(SpaceKind::Schema))];
        let mut found = self.first().get(&reads).await?;
        let version = found.row();
        let read = |(key, value): (Vec<u8>, Vec<u8>)| {
            Ok::<_, StorageFailure>((key, from_json(&value, || "a schema".to_owned())?))
        };
        Ok(Known { version, rows: found.range().into_iter().map(read).collect::<Result<_, _>>()? })
    }

    /// Puts a schema into a row, or removes it, and removes the file that no schema needs any more. Whether there was a row.
    async fn change_schema(&self, row: RowId, put: Option<&SchemaRecord>) -> Result<bool, StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let known = self.known_schemas().await?;
            let before = known.rows.iter().find(|(key, _)| *key == row.key).map(|(_, before)| before);
            let mut transaction = Transaction::durable();
            transaction.guard(Guard::still(counter(SCHEMAS), known.version.as_deref()));
            if before.is_none() && put.is_none() {
                // Nothing is to change; a caller without the right to change anything is told so all the same.
                self.first().commit_one(&transaction).await?;
                return Ok(false);
            }
            transaction.add(counter(SCHEMAS), 1);
            let document = put.map(|record| digest_of(&record.document));
            if let Some(before) = before {
                let others = known.rows.iter().filter(|(key, _)| *key != row.key);
                let mut needed = others.map(|(_, other)| &other.document).chain(&document);
                if needed.all(|other| *other != before.document) {
                    transaction.delete(document_row(&before.document));
                }
            }
            match (put, document) {
                (Some(record), Some(document)) => {
                    transaction.put(document_row(&document), record.document.as_bytes());
                    transaction.put(row.clone(), to_json(&SchemaRow::of(record, document))?);
                }
                _ => drop(transaction.delete(row.clone())),
            }
            if self.first().is_committed(&transaction).await? {
                return Ok(before.is_some());
            }
            retry.again().await?;
        }
    }
}

impl SchemaRow {
    fn of(record: &SchemaRecord, document: String) -> Self {
        Self {
            event_type: record.event_type.clone(),
            event_version: record.event_version.clone(),
            document,
            pointer: record.pointer.clone(),
            describes: record.describes,
            added_at: record.added_at,
        }
    }
}

#[async_trait]
impl SchemaStore for Store {
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), StorageFailure> {
        let row = row_of(&record.event_type, record.event_version.as_deref());
        self.change_schema(row, Some(&record)).await?;
        Ok(())
    }

    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, StorageFailure> {
        let reads =
            [Read::all(Space::of(SpaceKind::Schema)), Read::all(Space::of(SpaceKind::SchemaDocument))];
        let mut found = self.first().get(&reads).await?;
        let (rows, documents) = (found.range(), found.range());
        let mut records = Vec::with_capacity(rows.len());
        for (_, value) in rows {
            let row: SchemaRow = from_json(&value, || "a schema".to_owned())?;
            let at = document_row(&row.document).key;
            let document = documents.iter().find(|(key, _)| *key == at);
            let (_, document) = document.ok_or_else(|| corrupt("the file of a schema"))?;
            records.push(SchemaRecord {
                event_type: row.event_type,
                event_version: row.event_version,
                document: text(document.clone())?,
                pointer: row.pointer,
                describes: row.describes,
                added_at: row.added_at,
            });
        }
        Ok(records)
    }

    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, StorageFailure> {
        self.change_schema(row_of(event_type, event_version), None).await
    }
}
