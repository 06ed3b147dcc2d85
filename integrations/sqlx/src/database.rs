//! The SQL statements for each kind of database.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Database, Error, Pool};

/// An event in the outbox.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The place in the outbox. It rises in the commit order of the transactions of an ordering key.
    pub seq: i64,
    /// The ordering key.
    pub key: String,
    /// The JSON of the event.
    pub json: String,
}

/// An event of the outbox that the log refused permanently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The place in the outbox.
    pub seq: i64,
    /// The id of the event.
    pub event_id: String,
    /// The JSON of the event.
    pub json: String,
    /// The reason of the refusal.
    pub failure: String,
}

/// A kind of database for inbox and outbox. Implemented for [`sqlx::Sqlite`] and [`sqlx::Postgres`].
#[async_trait]
pub trait OutboxDatabase: Database {
    /// Creates missing tables.
    #[doc(hidden)]
    async fn create(pool: &Pool<Self>) -> Result<(), Error>;

    /// Records that a handler handles an event. Returns whether this is the first record.
    #[doc(hidden)]
    async fn note(connection: &mut Self::Connection, handler: &str, event_id: &str) -> Result<bool, Error>;

    /// Deletes records that are older than `age`. Returns the number of deleted records.
    #[doc(hidden)]
    async fn forget(pool: &Pool<Self>, age: Duration) -> Result<u64, Error>;

    /// Adds an event, unless the outbox contains an event with its id.
    #[doc(hidden)]
    async fn put(connection: &mut Self::Connection, id: &str, key: &str, json: &str) -> Result<(), Error>;

    /// Returns the first waiting events.
    #[doc(hidden)]
    async fn waiting(pool: &Pool<Self>, limit: i64) -> Result<Vec<Waiting>, Error>;

    /// Removes published events.
    #[doc(hidden)]
    async fn remove(pool: &Pool<Self>, published: &[i64]) -> Result<(), Error>;

    /// Sets an event aside.
    #[doc(hidden)]
    async fn set_aside(pool: &Pool<Self>, seq: i64, failure: &str) -> Result<(), Error>;

    /// Returns the events that were set aside, oldest first.
    #[doc(hidden)]
    async fn all_set_aside(pool: &Pool<Self>, limit: i64) -> Result<Vec<SetAside>, Error>;
}

/// Creates the tables `event_replay_inbox` and `event_replay_outbox` if they are missing. Call it when the service
/// starts, or add the same statements to the migrations of the service.
///
/// # Errors
/// Returns an [`Error`] when the database fails.
pub async fn create_tables<DB: OutboxDatabase>(pool: &Pool<DB>) -> Result<(), Error> {
    DB::create(pool).await
}

/// Implements the trait for a database. The arguments are the differences between databases.
macro_rules! database {
    ($database:ty, tables: [$($table:literal,)*], lock: $lock:expr, before: $before:literal,) => {
        #[async_trait]
        impl OutboxDatabase for $database {
            async fn create(pool: &Pool<Self>) -> Result<(), Error> {
                for table in [$($table),*] {
                    sqlx::query(table).execute(pool).await?;
                }
                Ok(())
            }

            async fn note(
                connection: &mut Self::Connection,
                handler: &str,
                event_id: &str,
            ) -> Result<bool, Error> {
                let noted = sqlx::query(
                    "INSERT INTO event_replay_inbox (handler, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                )
                .bind(handler)
                .bind(event_id)
                .execute(connection)
                .await?;
                Ok(noted.rows_affected() == 1)
            }

            async fn forget(pool: &Pool<Self>, age: Duration) -> Result<u64, Error> {
                let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX).min(1 << 33);
                let gone = sqlx::query(concat!("DELETE FROM event_replay_inbox WHERE handled_at < ", $before))
                    .bind(seconds)
                    .execute(pool)
                    .await?;
                Ok(gone.rows_affected())
            }

            async fn put(
                connection: &mut Self::Connection,
                id: &str,
                key: &str,
                json: &str,
            ) -> Result<(), Error> {
                let lock: Option<&'static str> = $lock;
                if let Some(lock) = lock {
                    sqlx::query(lock).bind(key).execute(&mut *connection).await?;
                }
                sqlx::query(
                    "INSERT INTO event_replay_outbox (event_id, ordering_key, json) VALUES ($1, $2, $3) \
                     ON CONFLICT DO NOTHING",
                )
                .bind(id)
                .bind(key)
                .bind(json)
                .execute(connection)
                .await?;
                Ok(())
            }

            async fn waiting(pool: &Pool<Self>, limit: i64) -> Result<Vec<Waiting>, Error> {
                let rows: Vec<(i64, String, String)> = sqlx::query_as(
                    "SELECT seq, ordering_key, json FROM event_replay_outbox WHERE failure IS NULL \
                     ORDER BY seq LIMIT $1",
                )
                .bind(limit)
                .fetch_all(pool)
                .await?;
                Ok(rows.into_iter().map(|(seq, key, json)| Waiting { seq, key, json }).collect())
            }

            async fn remove(pool: &Pool<Self>, published: &[i64]) -> Result<(), Error> {
                let mut tx = pool.begin().await?;
                for seq in published {
                    sqlx::query("DELETE FROM event_replay_outbox WHERE seq = $1").bind(*seq).execute(&mut *tx).await?;
                }
                tx.commit().await
            }

            async fn set_aside(pool: &Pool<Self>, seq: i64, failure: &str) -> Result<(), Error> {
                sqlx::query("UPDATE event_replay_outbox SET failure = $1 WHERE seq = $2")
                    .bind(failure)
                    .bind(seq)
                    .execute(pool)
                    .await?;
                Ok(())
            }

            async fn all_set_aside(pool: &Pool<Self>, limit: i64) -> Result<Vec<SetAside>, Error> {
                let rows: Vec<(i64, String, String, String)> = sqlx::query_as(
                    "SELECT seq, event_id, json, failure FROM event_replay_outbox WHERE failure IS NOT NULL \
                     ORDER BY seq LIMIT $1",
                )
                .bind(limit)
                .fetch_all(pool)
                .await?;
                let aside = |(seq, event_id, json, failure)| SetAside { seq, event_id, json, failure };
                Ok(rows.into_iter().map(aside).collect())
            }
        }
    };
}

// SQLite runs one write transaction at a time, so the places rise in commit order.
#[cfg(feature = "sqlite")]
database! {
    sqlx::Sqlite,
    tables: [
        "CREATE TABLE IF NOT EXISTS event_replay_inbox (handler TEXT NOT NULL, event_id TEXT NOT NULL, \
         handled_at INTEGER NOT NULL DEFAULT (unixepoch()), PRIMARY KEY (handler, event_id)) WITHOUT ROWID",
        "CREATE TABLE IF NOT EXISTS event_replay_outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, \
         event_id TEXT NOT NULL UNIQUE, ordering_key TEXT NOT NULL, json TEXT NOT NULL, failure TEXT)",
    ],
    lock: None,
    before: "unixepoch() - $1",
}

// PostgreSQL assigns places before transactions commit. The lock lasts until the end of the transaction. Transactions
// of one ordering key therefore get their places in commit order.
#[cfg(feature = "postgres")]
database! {
    sqlx::Postgres,
    tables: [
        "CREATE TABLE IF NOT EXISTS event_replay_inbox (handler TEXT NOT NULL, event_id TEXT NOT NULL, \
         handled_at TIMESTAMPTZ NOT NULL DEFAULT now(), PRIMARY KEY (handler, event_id))",
        "CREATE TABLE IF NOT EXISTS event_replay_outbox (seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
         event_id TEXT NOT NULL UNIQUE, ordering_key TEXT NOT NULL, json TEXT NOT NULL, failure TEXT)",
    ],
    lock: Some("SELECT pg_advisory_xact_lock(hashtextextended('event_replay_outbox:' || $1::text, 0))"),
    before: "now() - $1::bigint * interval '1 second'",
}
