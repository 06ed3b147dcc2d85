//! Fetching events whose place is known: those of a blocked key, and those that a lane batch refers to.

use std::collections::HashMap;

use domain::{
    Cursor, Filter, Position, StoredEvent,
    group::{GroupSpec, Key, LaneOrigin},
    ports::{EventStore, EventStoreError, Order, ReadRequest, Stores},
};

use super::ledger::FETCH_AHEAD;

/// Where a key's events are.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) partition: u16,
    /// The first sequence.
    pub(crate) from: u64,
    /// The last.
    pub(crate) through: u64,
    /// Any cursor of the log as it is now.
    pub(crate) head: Cursor,
}

/// Events of a key.
#[derive(Debug)]
pub(crate) struct KeyEvents {
    pub(crate) events: Vec<StoredEvent>,
    /// There are no others up to here.
    pub(crate) complete_to: u64,
}

/// Events of a lane batch, by sequence.
pub(crate) type BatchEvents = HashMap<u64, StoredEvent>;

/// The first events of a key at a place.
pub(crate) async fn of_key(
    store: &dyn Stores,
    spec: &GroupSpec,
    key: &Key,
    place: Place,
) -> Result<KeyEvents, EventStoreError> {
    let mark = |sequence: u64| {
        // Other partitions have nothing of the key: they begin where they end.
        let mut cursor = place.head.clone();
        if let Some(at) = cursor.sequences.get_mut(usize::from(place.partition)) {
            *at = sequence;
        }
        cursor
    };
    let mut request = ReadRequest {
        filter: std::sync::Arc::new(Filter { types: spec.types.clone(), ..key.filter() }),
        order: Order::OldestFirst,
        after: Some(mark(place.from.saturating_sub(1))),
        until: Some(mark(place.through)),
        limit: FETCH_AHEAD,
    };
    loop {
        let page = store.read(&request).await?;
        let of_key = |stored: &StoredEvent| Key::from(spec.key.of(&stored.event)) == *key;
        let mut events: Vec<StoredEvent> = page.events.into_iter().filter(of_key).collect();
        if let Some(named) = by_its_own_id(store, key, &place, &request).await? {
            events.push(named);
            events.sort_by_key(|stored| stored.position);
            events.dedup_by_key(|stored| stored.position);
        }
        match page.next {
            None => return Ok(KeyEvents { events, complete_to: place.through }),
            Some(next) if !events.is_empty() => {
                return Ok(KeyEvents { events, complete_to: next.sequence(place.partition) });
            }
            next => request.after = next,
        }
    }
}

/// A key of the kind `event` may stand for an entity of that kind as well as for one event's own id. The filter finds the
/// entity's; the one event is looked up here, on the first page.
async fn by_its_own_id(
    store: &dyn Stores,
    key: &Key,
    place: &Place,
    request: &ReadRequest,
) -> Result<Option<StoredEvent>, EventStoreError> {
    let is_first = request.after.as_ref().is_some_and(|after| after.sequence(place.partition) < place.from);
    if &*key.kind != "event" || !is_first {
        return Ok(None);
    }
    let found = EventStore::get(store, &[key.id.to_string()]).await?;
    let is_wanted = |stored: &StoredEvent| {
        let own = stored.event.ordering_key();
        let position = stored.position;
        Key::from(own) == *key
            && position.partition == place.partition
            && (place.from..=place.through).contains(&position.sequence)
            && (request.filter.types.is_empty()
                || request.filter.types.iter().any(|pattern| pattern.matches(stored.event.event_type())))
    };
    Ok(found.into_iter().find(is_wanted))
}

/// The events that a lane batch refers to, as far as they exist.
pub(crate) async fn of_batch(
    store: &dyn Stores,
    partition: u16,
    positions: &[u64],
    origin: &LaneOrigin,
) -> Result<BatchEvents, String> {
    let places: Vec<Position> =
        positions.iter().map(|sequence| Position::new(partition, *sequence)).collect();
    let page = EventStore::at(store, &places).await.map_err(|error| error.to_string())?;
    let mut events: BatchEvents =
        page.events.into_iter().map(|stored| (stored.position.sequence, stored)).collect();
    if let LaneOrigin::Redrive { dead_letter } | LaneOrigin::Discarded { dead_letter } = origin
        && events.is_empty()
    {
        // The log was trimmed: the letter keeps the event.
        let ids = [dead_letter.clone()];
        let letters = store.dead_letters_by_id(&ids).await.map_err(|error| error.to_string())?;
        for letter in letters {
            let stored = StoredEvent {
                event: letter.event,
                position: letter.position,
                stored_at: letter.created_at,
                replay_count: 0,
                last_replay_at: None,
            };
            events.insert(letter.position.sequence, stored);
        }
    }
    Ok(events)
}
