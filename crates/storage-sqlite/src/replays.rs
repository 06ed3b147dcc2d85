//! Replay counts.

use async_trait::async_trait;
use domain::{
    Position,
    ports::{ReplayStore, ReplayStoreError},
};
use jiff::Timestamp;

use crate::{failure::sqlite, state::micros, store::SqliteStore};

#[async_trait]
impl ReplayStore for SqliteStore {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        positions.dedup();
        self.writer()
            .await?
            .run(move |writer| {
                writer.transact_relaxed(|transaction, _, _| {
                    // Only positions that still hold an event get a count.
                    let mut statement = transaction
                        .prepare_cached(
                            "INSERT INTO replay (seq, count, at) SELECT seq, 1, ?2 FROM event WHERE seq = ?1 \
                         ON CONFLICT (seq) DO UPDATE SET count = count + 1, at = excluded.at",
                        )
                        .map_err(sqlite)?;
                    for position in positions.iter().filter(|position| position.partition == 0) {
                        statement.execute((position.sequence as i64, micros(at))).map_err(sqlite)?;
                    }
                    Ok(())
                })
            })
            .await?;
        Ok(())
    }
}
