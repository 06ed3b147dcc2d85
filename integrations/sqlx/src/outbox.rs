//! The outbox: events that a transaction wrote, before they are in the log.

use event_replay::{Emit, EmitError};
use sqlx::{Pool, Transaction};
use thiserror::Error;

use crate::database::{OutboxDatabase, SetAside};

/// The event could not be put into the outbox.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PutError {
    /// The event is invalid, or has options that an outbox does not support.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The database failed.
    #[error("the outbox cannot be written: {0}")]
    Database(#[from] sqlx::Error),
}

/// Writes an event to the outbox in a transaction: `put(&mut tx, cx.emit(event))`. A [`Relay`](crate::Relay) publishes
/// the event if and only if the transaction commits. The event is checked now. It gets the time, the id and the
/// causation id of an event that is emitted now.
///
/// Events of one ordering key are published in the commit order of their transactions. On PostgreSQL the call takes a
/// lock on the ordering key until the end of the transaction. A transaction that puts events of several keys should
/// always use the same order of keys. Otherwise PostgreSQL may detect a deadlock and abort one of two transactions.
///
/// # Errors
/// Returns [`PutError::Emit`] when the event is invalid, or has delivery options or an expectation. Returns
/// [`PutError::Database`] when the database fails.
pub async fn put<DB: OutboxDatabase>(tx: &mut Transaction<'_, DB>, event: Emit) -> Result<(), PutError> {
    let event = event.admit()?;
    DB::put(&mut **tx, event.id(), &event.ordering_key().to_string(), event.json()).await?;
    Ok(())
}

/// Returns events that the log refused permanently, oldest first, at most `limit`. The reason is an id that was used or
/// erased in the meantime, or a changed schema. The events stay in the table `event_replay_outbox` until an operator
/// deletes them. To publish them, the operator sets `failure` to `NULL`.
///
/// # Errors
/// Returns a [`sqlx::Error`] when the database fails.
pub async fn set_aside<DB: OutboxDatabase>(
    pool: &Pool<DB>,
    limit: u32,
) -> Result<Vec<SetAside>, sqlx::Error> {
    DB::all_set_aside(pool, limit.into()).await
}
