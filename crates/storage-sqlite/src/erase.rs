//! Erasing an entity: its events go for good, their ids are refused from then on, and the file keeps no byte of them.

use std::{ops::ControlFlow, time::Duration};

use domain::{
    Entity, Event, Filter, StorageFailure,
    ports::{Erased, EventStoreError, Order},
};
use rusqlite::Connection;
use tokio::time::Instant;

use crate::{
    append::tombstone,
    commits, connection, dead_letter_rows, dead_letters,
    failure::sqlite,
    groups::execute,
    postings,
    read::{self, Range},
    remove::{Removed, remove},
    schedule,
    state::State,
    state::micros,
    store::SqliteStore,
    terms::{Kinds, Value},
};

/// Events that one transaction removes, so that other writers get their turn.
const EVENTS_AT_ONCE: usize = 1000;

/// How long an erasure waits for readers to let go of the old pages, and how often it asks.
const READER_PATIENCE: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Erases every event that names the entity.
pub(crate) async fn erase(store: &SqliteStore, entity: &Entity) -> Result<Erased, EventStoreError> {
    let mut erased = Erased::default();
    // First what may yet go into the log, last what may yet be made of what is in it.
    erase_copies(store, scheduled(store, entity).await?, &mut erased).await?;
    let (mut next, mut unreadable) = (Some(1), 0);
    while let Some(low) = next {
        let entity = entity.clone();
        let page = store
            .writer()
            .await?
            .transact(move |transaction, state, kinds| erase_page(transaction, state, kinds, &entity, low))
            .await?;
        erased.events += page.removed.events;
        erased.bytes += page.removed.bytes;
        unreadable += page.unreadable;
        next = page.next;
    }
    erase_copies(store, letters(store, entity).await?, &mut erased).await?;
    forget_key(store, entity).await?;
    // Also where an erasure before this one was cut short, or kept from finishing by a reader.
    if store.reading(|_, state| Ok::<_, EventStoreError>(state.unscrubbed)).await? {
        erased.remains.extend(rewrite_file(store).await?);
    }
    if unreadable > 0 {
        erased.remains.push(format!(
            "{unreadable} damaged events, which can no longer say what they are about; `event-replay verify` names them"
        ));
    }
    if erased.events > 0 {
        erased.remains.push("backups and exports that were made before".to_owned());
    }
    Ok(erased)
}

/// An event that is not in the log, or not only there.
enum Copy {
    Scheduled(i64),
    DeadLetter(String),
}

async fn scheduled(store: &SqliteStore, entity: &Entity) -> Result<Vec<(Copy, Event)>, StorageFailure> {
    let entity = entity.clone();
    let found = store
        .reading(move |connection, _| schedule::matching(connection, |event| event.names(&entity)))
        .await?;
    Ok(found.into_iter().map(|(number, event)| (Copy::Scheduled(number), event)).collect())
}

async fn letters(store: &SqliteStore, entity: &Entity) -> Result<Vec<(Copy, Event)>, StorageFailure> {
    let entity = entity.clone();
    let found = store
        .reading(move |connection, _| dead_letter_rows::matching(connection, |event| event.names(&entity)))
        .await?;
    Ok(found.into_iter().map(|(id, event)| (Copy::DeadLetter(id), event)).collect())
}

async fn erase_copies(
    store: &SqliteStore,
    mut copies: Vec<(Copy, Event)>,
    erased: &mut Erased,
) -> Result<(), StorageFailure> {
    while !copies.is_empty() {
        let some = copies.split_off(copies.len().saturating_sub(EVENTS_AT_ONCE));
        let now = micros(store.clock().now());
        let removed = store
            .writer()
            .await?
            .transact(move |transaction, state, _| {
                let mut removed = Removed::default();
                for (copy, event) in &some {
                    match copy {
                        Copy::Scheduled(number) => schedule::remove(transaction, *number)?,
                        Copy::DeadLetter(id) => {
                            // A key that is parked behind it goes on.
                            dead_letters::discard(transaction, id, "its event was erased", now)?;
                            dead_letter_rows::remove(transaction, id)?;
                        }
                    }
                    // Of an event and its copies one counts.
                    if bury(transaction, event.id())? {
                        removed.events += 1;
                        removed.bytes += event.size_bytes() as u64;
                    }
                }
                state.unscrubbed = true;
                Ok(removed)
            })
            .await?;
        erased.events += removed.events;
        erased.bytes += removed.bytes;
    }
    Ok(())
}

/// The keys of ledgers name entities too. Where their events are gone there is nothing to wait for.
async fn forget_key(store: &SqliteStore, entity: &Entity) -> Result<(), StorageFailure> {
    let Entity { kind, id } = entity.clone();
    store
        .writer()
        .await?
        .transact(move |transaction, state, _| {
            state.unscrubbed |= commits::forget_key(transaction, &kind, &id)? > 0;
            Ok(())
        })
        .await
}

/// Refuses an id from now on; whether it was not refused before.
fn bury(connection: &Connection, id: &str) -> Result<bool, StorageFailure> {
    let buried =
        execute(connection, "INSERT OR IGNORE INTO tombstone (digest) VALUES (?1)", [tombstone(id)])?;
    Ok(buried > 0)
}

struct ErasedPage {
    removed: Removed,
    /// Damaged events that the index does not know to be the entity's, nor not to be.
    unreadable: u64,
    next: Option<u64>,
}

fn erase_page(
    connection: &Connection,
    state: &mut State,
    kinds: &mut Kinds,
    entity: &Entity,
    low: u64,
) -> Result<ErasedPage, StorageFailure> {
    let filter = Filter::entity(entity.clone());
    let term = kinds.find(connection, &entity.kind)?.map(|kind| (kind, Value::from(entity.id.as_str())));
    let (mut positions, mut damaged) = (Vec::new(), Vec::new());
    let range = Range { order: Order::OldestFirst, low, high: state.head };
    let stopped = read::walk(connection, state, &filter, range, |row| {
        match row.event {
            Ok(event) if filter.matches(&event) => positions.push(row.seq),
            Ok(_) => {}
            Err(_) => damaged.push(row.seq),
        }
        let full = positions.len() + damaged.len() >= EVENTS_AT_ONCE;
        if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    // What a damaged event was about, the index still knows.
    let mut unreadable = 0;
    for seq in damaged {
        match &term {
            Some(term) if postings::holds(connection, term, seq)? => positions.push(seq),
            _ if seq <= state.indexed => {}
            _ => unreadable += 1,
        }
    }
    positions.sort_unstable();
    let removed = remove(connection, state, kinds, &positions, |id| bury(connection, id).map(drop))?;
    state.unscrubbed |= removed.events > 0;
    Ok(ErasedPage { removed, unreadable, next: stopped.map(|seq| seq + 1) })
}

/// Deleted rows leave their bytes in free pages, in the gaps of pages that were split, and in the write-ahead log. So the
/// file is written anew from its live rows, and the log is emptied. Where a reader stands in the way of the last, says so.
async fn rewrite_file(store: &SqliteStore) -> Result<Option<String>, StorageFailure> {
    store
        .writer()
        .await?
        .run(|writer| {
            let connection = writer.connection();
            // The copy that VACUUM makes is as large as the store: it goes to a temporary file, not to memory.
            let set = |place: &str| connection.pragma_update(None, "temp_store", place).map_err(sqlite);
            set("FILE")?;
            let rewritten = connection.execute_batch("VACUUM").map_err(sqlite);
            set("MEMORY")?;
            rewritten
        })
        .await?;
    let deadline = Instant::now() + READER_PATIENCE;
    while !empty_log(store).await? {
        if Instant::now() >= deadline {
            return Ok(Some(
                "the store's own file, while another process goes on reading it: erase again when it has finished"
                    .to_owned(),
            ));
        }
        // Others write meanwhile.
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(None)
}

/// Empties the write-ahead log, if no reader needs it now.
async fn empty_log(store: &SqliteStore) -> Result<bool, StorageFailure> {
    store
        .writer()
        .await?
        .run(|writer| {
            let emptied = connection::without_waiting(writer.connection(), |connection| {
                connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
            })
            .is_ok_and(|blocked| !blocked);
            if emptied {
                writer.transact(|_, state, _| {
                    state.unscrubbed = false;
                    Ok(())
                })?;
            }
            Ok(emptied)
        })
        .await
}
