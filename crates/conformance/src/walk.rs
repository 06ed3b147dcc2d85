//! Reads all pages of a request and checks the guarantees of each page.

use std::sync::Arc;

use domain::{
    CorruptEvent, Cursor, Filter, StoredEvent,
    ports::{Order, ReadRequest},
};

use crate::Stores;

/// Reads every match in pages of a given size. Panics if a page has too many events, if the read makes no progress, or
/// if an event is damaged.
pub async fn walk(
    store: &dyn Stores,
    filter: &Arc<Filter>,
    order: Order,
    limit: usize,
    until: Option<Cursor>,
) -> Vec<StoredEvent> {
    let (events, corrupt) = walk_all(store, filter, order, limit, until).await;
    assert_eq!(corrupt, [], "no event is damaged");
    events
}

/// Reads as [`walk`] does, but also returns the damaged events.
pub async fn walk_all(
    store: &dyn Stores,
    filter: &Arc<Filter>,
    order: Order,
    limit: usize,
    until: Option<Cursor>,
) -> (Vec<StoredEvent>, Vec<CorruptEvent>) {
    let mut request = ReadRequest { filter: filter.clone(), order, after: None, until, limit };
    let (mut events, mut corrupt) = (Vec::new(), Vec::new());
    loop {
        let page = store.read(&request).await.expect("a page");
        assert!(page.events.len() <= limit, "{} events in a page of {limit}", page.events.len());
        events.extend(page.events);
        corrupt.extend(page.corrupt);
        let Some(next) = page.next else { return (events, corrupt) };
        if let Some(after) = &request.after {
            let mut places = after.sequences.iter().zip(&next.sequences);
            let goes_on = match order {
                Order::OldestFirst => places.all(|(after, next)| next >= after),
                Order::NewestFirst => places.all(|(after, next)| next <= after),
            };
            assert!(goes_on && next != *after, "a page after {after:?} went on at {next:?}");
        }
        request.after = Some(next);
    }
}

/// Returns the JSON of events, for comparisons of reads.
pub fn json_of(events: &[StoredEvent]) -> Vec<&str> {
    events.iter().map(|stored| stored.event.json()).collect()
}
