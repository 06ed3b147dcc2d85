//! Erasing an entity: its events go for good, their ids are refused from then on, and the file keeps no byte of them.

use std::{ops::ControlFlow, sync::Arc};

use domain::{
    Entity, Filter, StorageFailure,
    ports::{Erased, EventStoreError, Order},
};

use crate::{
    append::tombstone,
    failure::sqlite,
    read::{self, Range},
    remove::remove,
    store::SqliteStore,
};

/// Events that one transaction removes, so that other writers get their turn.
const EVENTS_AT_ONCE: usize = 1000;

/// Erases every event that names the entity.
pub(crate) async fn erase(store: &SqliteStore, entity: &Entity) -> Result<Erased, EventStoreError> {
    let filter = Arc::new(Filter::entity(entity.clone()));
    let mut erased = Erased::default();
    let mut next = Some(1);
    while let Some(low) = next {
        let wanted = filter.clone();
        let (removed, after) = store
            .writer()
            .await?
            .transact(move |transaction, state, kinds| {
                let mut positions = Vec::new();
                let range = Range { order: Order::OldestFirst, low, high: state.head };
                let stopped = read::walk(transaction, state, &wanted, range, |row| {
                    if row.event.is_ok_and(|event| wanted.matches(&event)) {
                        positions.push(row.seq);
                    }
                    let full = positions.len() >= EVENTS_AT_ONCE;
                    if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                })?;
                let removed = remove(transaction, state, kinds, &positions, |event| {
                    transaction
                        .prepare_cached("INSERT OR IGNORE INTO tombstone (digest) VALUES (?1)")
                        .and_then(|mut statement| statement.execute([tombstone(event.id())]))
                        .map_err(sqlite)?;
                    Ok(())
                })?;
                Ok((removed, stopped.map(|seq| seq + 1)))
            })
            .await?;
        erased.events += removed.events;
        erased.bytes += removed.bytes;
        next = after;
    }
    if erased.events > 0 {
        erased.remains = rewrite_file(store).await?;
    }
    Ok(erased)
}

/// Deleted rows leave their bytes in free pages, in the gaps of pages that were split, and in the write-ahead log. So the
/// file is written anew from its live rows, and the log is emptied.
async fn rewrite_file(store: &SqliteStore) -> Result<Vec<String>, StorageFailure> {
    store
        .writer()
        .await?
        .run(|writer| {
            let connection = writer.connection();
            // The copy that VACUUM makes is as large as the store: it goes to a temporary file, not to memory.
            connection
                .execute_batch("PRAGMA temp_store = FILE; VACUUM; PRAGMA temp_store = MEMORY;")
                .map_err(sqlite)?;
            let blocked: bool = connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
                .map_err(sqlite)?;
            let mut remains = vec!["backups and exports that were made before".to_owned()];
            if blocked {
                remains.insert(
                    0,
                    "the store's file, until another process that is reading it has finished: \
                     run the same command again then"
                        .to_owned(),
                );
            }
            Ok(remains)
        })
        .await
}
