//! Counters over time.

use async_trait::async_trait;
use domain::{
    StorageFailure,
    ports::{StatSample, StatsStore, StatsStoreError},
};
use rusqlite::{Connection, Row};

use crate::{failure::sqlite, groups::execute, store::SqliteStore};

/// Adds to a counter. A sum that no column holds stays at the highest: SQLite would make a fraction of it.
fn add(connection: &Connection, sample: &StatSample) -> Result<(), StorageFailure> {
    let [count, sum] = [sample.count, sample.sum].map(|number| i64::try_from(number).unwrap_or(i64::MAX));
    execute(
        connection,
        "INSERT INTO stat (minute, name, label, count, sum) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (minute, name, label) DO UPDATE SET \
         count = count + min(excluded.count, 9223372036854775807 - count), \
         sum = sum + min(excluded.sum, 9223372036854775807 - sum)",
        (sample.minute, &sample.name, &sample.label, count, sum),
    )
    .map(drop)
}

fn read(row: &Row<'_>) -> rusqlite::Result<StatSample> {
    Ok(StatSample {
        minute: row.get(0)?,
        name: row.get(1)?,
        label: row.get(2)?,
        count: row.get::<_, i64>(3)? as u64,
        sum: row.get::<_, i64>(4)? as u64,
    })
}

const SELECT: &str = "SELECT minute, name, label, count, sum FROM stat";

fn select(connection: &Connection, condition: &str, minute: i64) -> Result<Vec<StatSample>, StorageFailure> {
    let mut statement = connection
        .prepare_cached(&format!("{SELECT} WHERE {condition} ORDER BY minute, name, label"))
        .map_err(sqlite)?;
    let rows = statement.query_map([minute], read).map_err(sqlite)?;
    rows.collect::<Result<_, _>>().map_err(sqlite)
}

fn fold(connection: &Connection, before: i64) -> Result<(), StorageFailure> {
    for sample in select(connection, "minute < ?1 AND minute <> 0", before)? {
        add(connection, &StatSample { minute: 0, ..sample })?;
    }
    execute(connection, "DELETE FROM stat WHERE minute < ?1 AND minute <> 0", [before]).map(drop)
}

#[async_trait]
impl StatsStore for SqliteStore {
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StatsStoreError> {
        if samples.is_empty() {
            return Ok(());
        }
        let samples = samples.to_vec();
        Ok(self
            .writer()
            .await?
            .transact_relaxed(move |transaction, _, _| {
                samples.iter().try_for_each(|sample| add(transaction, sample))
            })
            .await?)
    }

    async fn stats(&self, since_minute: Option<i64>) -> Result<Vec<StatSample>, StatsStoreError> {
        let since = since_minute.unwrap_or(i64::MIN);
        self.reading(move |connection, _| Ok(select(connection, "minute >= ?1", since)?)).await
    }

    async fn fold_stats(&self, before_minute: i64) -> Result<(), StatsStoreError> {
        Ok(self
            .writer()
            .await?
            .transact_relaxed(move |transaction, _, _| fold(transaction, before_minute))
            .await?)
    }
}
