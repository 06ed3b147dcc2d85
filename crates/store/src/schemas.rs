//! The schemas of users, in partition 0: one row for each schema. The text of a schema file is stored once, because one
//! file often describes many types.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{
    StorageFailure,
    ports::{
        SchemaRecord, SchemaStore,
        engine::{
            Guard, Read, RowId, Snapshot, Space, SpaceKind, Transaction,
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
    rows::{SCHEMAS, corrupt, counter, from_json, named, read_rows, read_values, text, to_json, value_at},
};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemaRow {
    event_type: String,
    event_version: Option<String>,
    /// The SHA-256 of the schema file, in hexadecimal digits.
    document: String,
    pointer: String,
    describes: Describes,
    added_at: Timestamp,
}

/// Returns the row of a schema. A schema without a version has its own row, before the rows of the versions.
fn row_of(event_type: &str, event_version: Option<&str>) -> RowId {
    let mut parts = vec![Part::Text(event_type)];
    parts.extend(event_version.map(Part::Text));
    RowId::of(SpaceKind::Schema, key(&parts))
}

fn document_row(digest: &str) -> RowId {
    named(SpaceKind::SchemaDocument, digest)
}

fn digest_of(document: &str) -> String {
    domain::hex(&Sha256::digest(document))
}

impl Store {
    /// Puts or removes a schema, and removes a file that no schema uses any more. Returns whether the row existed
    /// before.
    async fn change_schema(&self, row: RowId, put: Option<&SchemaRecord>) -> Result<bool, StorageFailure> {
        let reads = [Read::Row(counter(SCHEMAS)), Read::all(Space::of(SpaceKind::Schema))];
        let decision = |mut found: Snapshot| {
            let mut transaction = Transaction::durable();
            transaction.guard(Guard::still(counter(SCHEMAS), found.row().as_deref()));
            let mut others: BTreeMap<Vec<u8>, SchemaRow> =
                read_rows(found.range(), |key| Ok(key.to_vec()), SchemaRow::read)?;
            let before = others.remove(&row.key);
            if before.is_none() && put.is_none() {
                // Nothing changes. The transaction makes a caller without write permission fail all the same.
                return Ok((false, Some(transaction)));
            }
            transaction.add(counter(SCHEMAS), 1);
            let document = put.map(|record| digest_of(&record.document));
            if let Some(before) = &before {
                let mut needed = others.values().map(|other| &other.document).chain(&document);
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
            Ok((before.is_some(), Some(transaction)))
        };
        self.first().decide(&reads, decision).await
    }
}

impl SchemaRow {
    fn read(value: &[u8]) -> Result<Self, StorageFailure> {
        from_json(value, "a schema")
    }

    fn record(self, document: String) -> SchemaRecord {
        SchemaRecord {
            event_type: self.event_type,
            event_version: self.event_version,
            document,
            pointer: self.pointer,
            describes: self.describes,
            added_at: self.added_at,
        }
    }

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
        let kinds = [SpaceKind::Schema, SpaceKind::SchemaDocument];
        let mut found = self.first().all_of(kinds.map(Space::of)).await?;
        let (rows, documents) = (read_values(found.range(), SchemaRow::read)?, found.range());
        let record = |row: SchemaRow| {
            let document = value_at(&documents, &document_row(&row.document).key);
            let document = document.ok_or_else(|| corrupt("the file of a schema"))?;
            Ok(row.record(text(document.to_vec())?))
        };
        rows.into_iter().map(record).collect()
    }

    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, StorageFailure> {
        self.change_schema(row_of(event_type, event_version), None).await
    }
}
