//! Where in the target an old checkpoint lies.

use std::{sync::Arc, time::Duration};

use domain::{
    Cursor, Filter, Position,
    ports::{EventStore, EventStoreError, Order, ReadRequest, StoreInfo},
    time::checked_later,
};
use jiff::Timestamp;

use crate::retry::repeated;

/// The mark of an event: its place in its own partition. Nothing is known of the others, so they begin at their start: a
/// recovery passes nothing over.
pub(crate) fn of_position(info: &StoreInfo, position: Position) -> Cursor {
    let mut sequences = vec![0; info.head.sequences.len()];
    if let Some(sequence) = sequences.get_mut(usize::from(position.partition)) {
        *sequence = position.sequence;
    }
    Cursor::new(info.head.store, info.head.epoch, sequences)
}

/// The mark of a time: before the first event of each partition that happened later, and at the head where none did. In a
/// log that is in the order of time, as a migrated one is, that is after the last event at or before the time.
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

/// The sequence of the first match in a partition.
async fn first_in(
    events: &dyn EventStore,
    info: &StoreInfo,
    partition: usize,
    filter: &Arc<Filter>,
) -> Result<Option<u64>, EventStoreError> {
    // At the head of every other partition, so that only this one is read.
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
