//! The lag of a group: the events in the log after its slowest segments.

use std::sync::Arc;

use domain::{
    Cursor, Filter,
    group::GroupStatus,
    ports::{EventStoreError, Stores},
};

/// The lag of a group at one moment.
pub(crate) struct GroupLag {
    /// The cursor of its slowest segments.
    pub(crate) cursor: Cursor,
    /// The newest position of each partition.
    pub(crate) head: Cursor,
    /// The number of events of any type between the two.
    pub(crate) events: u64,
}

impl GroupLag {
    /// Reads the lag of a group from the log.
    ///
    /// # Errors
    /// Returns [`EventStoreError`] when the store fails.
    pub(crate) async fn of(store: &dyn Stores, status: &GroupStatus) -> Result<Self, EventStoreError> {
        let head = store.head().await?;
        let cursor = lowest(status, &head);
        if cursor == head {
            return Ok(Self { cursor, head, events: 0 });
        }
        let everything = Arc::new(Filter::default());
        let all = store.count(&everything, Some(&head)).await?;
        let passed = store.count(&everything, Some(&cursor)).await?;
        Ok(Self { cursor, head, events: all.saturating_sub(passed) })
    }
}

fn lowest(status: &GroupStatus, head: &Cursor) -> Cursor {
    let sequences = (0u16..)
        .zip(&head.sequences)
        .map(|(partition, newest)| status.cursor(partition).unwrap_or(*newest).min(*newest))
        .collect();
    Cursor::new(head.store, head.epoch, sequences)
}
