//! The marks of old checkpoints in the target.

use std::{sync::Arc, time::Duration};

use domain::{
    Cursor, Filter, Position,
    ports::{EventStore, EventStoreError, Order, ReadRequest, StoreInfo},
    time::checked_later,
};
use jiff::Timestamp;

use crate::retry::repeated;

/// Returns the mark of an event: its position in its own partition. The positions in other partitions are unknown, so
/// they are at the start. A recovery then skips no event.
pub(crate) fn of_position(info: &StoreInfo, position: Position) -> Cursor {
    let mut sequences = vec![0; info.head.sequences.len()];
    if let Some(sequence) = sequences.get_mut(usize::from(position.partition)) {
        *sequence = position.sequence;
    }
    Cursor::new(info.head.store, info.head.epoch, sequences)
}

/// Returns the mark of a time: in each partition, before the first event with a later timestamp, or at the head if
/// there is none. A migrated log is in time order. There, the mark is after the last event at or before the time.
pub(crate) async fn of_time(
    events: &dyn EventStore,
    info: &StoreInfo,
    at: Timestamp,
) -> Result<Cursor, EventStoreError> {
    let mut mark = info.head.clone();
    let Some(later) = checked_later(at, Duration::from_nanos(1)) else { return Ok(mark) };
    let filter = Arc::new(Filter { from: Some(later), ..Filter::default() });
    for partition in 0..mark.sequences.len() {
        let first = first_in(events, info, partition, &filter).await?;
        if let (Some(sequence), Some(first)) = (mark.sequences.get_mut(partition), first) {
            *sequence = first.saturating_sub(1);
        }
    }
    Ok(mark)
}

/// Returns the sequence of the first match in a partition.
async fn first_in(
    events: &dyn EventStore,
    info: &StoreInfo,
    partition: usize,
    filter: &Arc<Filter>,
) -> Result<Option<u64>, EventStoreError> {
    // The cursor is at the head of every other partition, so that only this partition is read.
    let mut after = info.head.clone();
    if let Some(sequence) = after.sequences.get_mut(partition) {
        *sequence = info.trimmed_through.get(partition).copied().unwrap_or(0);
    }
    let mut request = ReadRequest {
        filter: Arc::clone(filter),
        order: Order::OldestFirst,
        after: Some(after),
        until: Some(info.head.clone()),
        limit: 1,
    };
    loop {
        let page = repeated(|| events.read(&request)).await?;
        match (page.events.first(), page.next) {
            (Some(first), _) => return Ok(Some(first.position.sequence)),
            (None, None) => return Ok(None),
            (None, next) => request.after = next,
        }
    }
}
