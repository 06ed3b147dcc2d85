//! The inbox: the events that each handler has handled.

use std::time::Duration;

use event_replay::Context;
use sqlx::{Error, Pool, Transaction};

use crate::database::OutboxDatabase;

/// Records, in a transaction, that the event of this call is handled.
///
/// Returns true for the first record. The handler then performs the effect in the same transaction, and commits.
/// Returns false if an earlier call has committed the record. The handler then has nothing to do. Each group, and each
/// handler of a group, has its own records.
///
/// If two processes handle one event concurrently, the second process waits for the first transaction. On SQLite, begin
/// the transaction with `BEGIN IMMEDIATE`. A transaction that first reads and then writes may be refused as busy.
///
/// A replay of a recorded event performs no effect. To let a replay perform the effect again, delete the records, or
/// use [`forget_handled`].
///
/// # Errors
/// Returns an [`Error`] when the database fails. Return the error from the handler, so that the event is delivered
/// again.
pub async fn once<S, DB>(cx: &Context<S>, tx: &mut Transaction<'_, DB>) -> Result<bool, Error>
where
    S: Send + Sync + 'static,
    DB: OutboxDatabase,
{
    DB::note(&mut **tx, &cx.handler_name(), cx.event().id()).await
}

/// Deletes the records of events that were handled longer than `age` ago. Returns the number of deleted records. Keep
/// records for longer than an event can be delivered again by retries, by redrives, and by replays that must not repeat
/// effects.
///
/// # Errors
/// Returns an [`Error`] when the database fails.
pub async fn forget_handled<DB: OutboxDatabase>(pool: &Pool<DB>, age: Duration) -> Result<u64, Error> {
    DB::forget(pool, age).await
}
