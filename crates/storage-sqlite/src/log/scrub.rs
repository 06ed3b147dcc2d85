//! Scrubbing: the file keeps no byte of what was erased.

use std::time::Duration;

use domain::StorageFailure;
use tokio::time::Instant;

use crate::{
    connection,
    failure::sqlite,
    file::SqliteEngine,
    writer::{Flush, Writer},
};

/// How long it waits for readers to let go of the old pages, and how often it asks.
const READER_PATIENCE: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Frees what erased events occupied, also where an erasure before this one was cut short, or kept from finishing by a
/// reader. Says what remains of them.
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

/// Deleted rows leave their bytes in free pages, in the gaps of pages that were split, and in the write-ahead log. So the
/// file is rewritten from its live rows, and the log is emptied. Where a reader stands in the way of the last, says so.
async fn rewrite_file(engine: &SqliteEngine) -> Result<Option<String>, StorageFailure> {
    let writer = engine.writer().await?;
    let rewritten = writer
        .run(|writer| {
            let connection = writer.connection();
            // The copy that VACUUM makes is as large as the store: it goes to a temporary file, not to memory.
            let set = |place: &str| connection.pragma_update(None, "temp_store", place).map_err(sqlite);
            set("FILE")?;
            let rewritten = connection.execute_batch("VACUUM").map_err(sqlite);
            set("MEMORY")?;
            rewritten
        })
        .await;
    match rewritten {
        // The events are gone from every read; only free pages of the file may still hold their bytes.
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
        // Others write meanwhile.
        tokio::time::sleep(ASK_EVERY).await;
    }
    Ok(None)
}

/// Empties the write-ahead log, if no reader needs it now.
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
