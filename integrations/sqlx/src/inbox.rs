//! The inbox: which events a handler has handled.

use std::time::Duration;

use event_replay::Context;
use sqlx::{Error, Pool, Transaction};

use crate::database::OutboxDatabase;

/// Notes in a transaction that the event of this call is handled. True: this is the first time, so perform the effect in the same
/// transaction, and commit. False: an earlier call committed it; there is nothing to do. Every group, and every handler of a group,
/// has notes of its own.
///
/// Where two processes handle one event at once, the second one waits for the first transaction. On SQLite begin the transaction with
/// `BEGIN IMMEDIATE`: one that begins to read and then writes may be refused as busy.
///
/// A replay of an event that is noted performs nothing. To let a replay perform the effect again, remove the notes, or forget them by
/// [`forget_handled`].
///
/// # Errors
/// When the database fails. Return the error from the handler: the event is delivered again.
pub async fn once<S, DB>(cx: &Context<S>, tx: &mut Transaction<'_, DB>) -> Result<bool, Error>
where
    S: Send + Sync + 'static,
    DB: OutboxDatabase,
{
    DB::note(&mut **tx, &cx.handler_name(), cx.event().id()).await
}

/// Forgets events that were handled longer ago than this; how many. Keep notes for longer than an event can be delivered again: through
/// retries and redrives, and through replays that must not repeat effects.
///
/// # Errors
/// When the database fails.
pub async fn forget_handled<DB: OutboxDatabase>(pool: &Pool<DB>, age: Duration) -> Result<u64, Error> {
    DB::forget(pool, age).await
}
