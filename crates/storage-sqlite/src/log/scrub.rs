//! Scrubbing removes the last bytes of erased events from the file.

use std::time::Duration;

use domain::StorageFailure;
use tokio::time::Instant;

use crate::{
    connection,
    failure::sqlite,
    file::SqliteEngine,
    writer::{Flush, Writer},
};

/// Longest wait for readers of old pages, and pause between two checks.
const READER_PATIENCE: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Frees the bytes of erased events. This includes earlier erasures that were interrupted or blocked by a reader.
/// Returns a description of each remaining copy.
pub(crate) async fn scrub(engine: &SqliteEngine, erased: bool) -> Result<Vec<String>, StorageFailure> {
    let mut remains = Vec::new();
    if engine.reading(|_, state| Ok(state.unscrubbed)).await? {
        remains.extend(rewrite_file(engine).await?);
    }
    if erased {
        remains.push("backups and exports that were made before".to_owned());
    }
    Ok(remains)
}

/// Rewrites the file from its live rows and empties the write-ahead log. This is necessary because deleted rows leave
/// bytes in free pages, in gaps of split pages and in the write-ahead log. If a reader blocks the last step, the result
/// says so.
async fn rewrite_file(engine: &SqliteEngine) -> Result<Option<String>, StorageFailure> {
    let writer = engine.writer().await?;
    let rewritten = writer
        .run(|writer| {
            let connection = writer.connection();
            // VACUUM makes a copy as large as the store. The copy goes to a temporary file instead of memory.
            let set = |place: &str| connection.pragma_update(None, "temp_store", place).map_err(sqlite);
            set("FILE")?;
            let rewritten = connection.execute_batch("VACUUM").map_err(sqlite);
            set("MEMORY")?;
            rewritten
        })
        .await;
    match rewritten {
        // No read returns the events. Only free pages of the file may still hold their bytes.
        Err(StorageFailure::Full(_)) => {
            return Ok(Some(
                "free pages of the store's own file, which could not be rewritten: free disk space of twice its size, \
                 then erase again"
                    .to_owned(),
            ));
        }
        rewritten => rewritten?,
    }
    let deadline = Instant::now() + READER_PATIENCE;
    while !writer.run(empty_log).await? {
        if Instant::now() >= deadline {
            return Ok(Some(
                "the store's own file, while another process still reads it: erase again when it has finished"
                    .to_owned(),
            ));
        }
        // Other callers write during this pause.
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(None)
}

/// Empties the write-ahead log unless a reader needs it. Returns whether the log was emptied.
fn empty_log(writer: &mut Writer) -> Result<bool, StorageFailure> {
    let emptied = connection::without_waiting(writer.connection(), |connection| {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0))
    })
    .is_ok_and(|blocked| !blocked);
    if emptied {
        writer.transact(Flush::Wait, |change| {
            change.state.unscrubbed = false;
            Ok(())
        })?;
    }
    Ok(emptied)
}
