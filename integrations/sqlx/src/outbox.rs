//! The outbox: events that a transaction wrote, on their way to the log.

use event_replay::{Emit, EmitError};
use sqlx::{Pool, Transaction};
use thiserror::Error;

use crate::database::{OutboxDatabase, SetAside};

/// Why an event was not put into the outbox.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PutError {
    /// The event is not valid, or has options that an outbox cannot keep.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The database failed.
    #[error("the outbox cannot be written: {0}")]
    Database(#[from] sqlx::Error),
}

/// Writes an event into the outbox, in a transaction: `put(&mut tx, cx.emit(event))`. It is published by a [`Relay`](crate::Relay) if
/// the transaction commits, and never else. It is checked now, and it has the time, the id and the cause that it would have if it
/// were emitted now.
///
/// Events of one ordering key are published in the order in which their transactions committed. On PostgreSQL the call takes a lock
/// on the ordering key until the transaction ends. A transaction that puts events of several keys should put them in one order of
/// keys: otherwise PostgreSQL may find a deadlock and end one of two transactions.
///
/// # Errors
/// When the event is not valid, has delivery options or an expectation, or the database fails.
pub async fn put<DB: OutboxDatabase>(tx: &mut Transaction<'_, DB>, event: Emit) -> Result<(), PutError> {
    let event = event.admit()?;
    DB::put(&mut **tx, event.id(), &event.ordering_key().to_string(), event.json()).await?;
    Ok(())
}

/// Events that the log refused permanently, the oldest first, at most `limit`: their id was taken or erased meanwhile, or a schema was
/// changed. They stay in the table `event_replay_outbox` until an operator deletes them, or sets `failure` to `NULL` to have them published.
///
/// # Errors
/// When the database fails.
pub async fn set_aside<DB: OutboxDatabase>(
    pool: &Pool<DB>,
    limit: u32,
) -> Result<Vec<SetAside>, sqlx::Error> {
    DB::all_set_aside(pool, limit.into()).await
}
