//! Fetching events whose place is known: those of a blocked key, and those that a lane batch refers to.

use std::collections::BTreeMap;

use domain::{
    Cursor, Filter, Position, StoredEvent,
    dead_letter::DeadLetter,
    group::{GroupSpec, Key, LaneOrigin},
    ports::{EventStore, EventStoreError, Order, ReadRequest, Stores},
};

use super::ledger::FETCH_AHEAD;

/// The part of the log that holds the events of a key.
#[derive(Debug, Clone)]
pub(crate) struct KeyRange {
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

/// Most references that one read fetches, and one batch more.
const REFERENCES_AT_ONCE: usize = 2_048;

/// A lane batch whose events are wanted.
#[derive(Debug, Clone)]
pub(crate) struct BatchRequest {
    pub(crate) segment: u16,
    /// The epoch of the segment's lease.
    pub(crate) epoch: u64,
    /// The batch's place in the lane.
    pub(crate) batch: u64,
    pub(crate) partition: u16,
    /// Where its events are, rising.
    pub(crate) positions: Vec<u64>,
    pub(crate) origin: LaneOrigin,
}

/// Events of one partition, by sequence.
#[derive(Debug, Default)]
pub(crate) struct BatchEvents(Vec<StoredEvent>);

impl BatchEvents {
    pub(crate) fn get(&self, sequence: u64) -> Option<StoredEvent> {
        let at = self.0.binary_search_by_key(&sequence, |stored| stored.position.sequence).ok()?;
        self.0.get(at).cloned()
    }
}

impl FromIterator<StoredEvent> for BatchEvents {
    fn from_iter<I: IntoIterator<Item = StoredEvent>>(events: I) -> Self {
        let mut events: Vec<StoredEvent> = events.into_iter().collect();
        events.sort_unstable_by_key(|stored| stored.position.sequence);
        Self(events)
    }
}

/// Batches that are read together. A replay's batch is a stretch of the log that is divided among segments: read together,
/// its parts are a stretch again.
pub(crate) fn reads(batches: Vec<BatchRequest>) -> Vec<Vec<BatchRequest>> {
    let mut reads = Vec::new();
    let mut together: BTreeMap<u16, (usize, Vec<BatchRequest>)> = BTreeMap::new();
    for batch in batches {
        if !matches!(batch.origin, LaneOrigin::Replay { .. }) {
            reads.push(vec![batch]);
            continue;
        }
        let (references, of_partition) = together.entry(batch.partition).or_default();
        *references += batch.positions.len();
        of_partition.push(batch);
        if *references >= REFERENCES_AT_ONCE {
            *references = 0;
            reads.push(std::mem::take(of_partition));
        }
    }
    reads.extend(together.into_values().map(|(_, batches)| batches).filter(|batches| !batches.is_empty()));
    reads
}

/// The first events of a key at a place.
pub(crate) async fn of_key(
    store: &dyn Stores,
    spec: &GroupSpec,
    key: &Key,
    place: KeyRange,
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
    place: &KeyRange,
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

/// The events that lane batches of one partition refer to, as far as they exist.
pub(crate) async fn of_batches(store: &dyn Stores, batches: &[BatchRequest]) -> Result<BatchEvents, String> {
    let places = batches
        .iter()
        .flat_map(|batch| batch.positions.iter().map(|sequence| Position::new(batch.partition, *sequence)));
    let mut places: Vec<Position> = places.collect();
    places.sort_unstable();
    places.dedup();
    let page = EventStore::at(store, &places);
    let page = async { page.await.map_err(|error| error.to_string()) };
    if let [BatchRequest { origin, .. }] = batches
        && let LaneOrigin::Redrive { dead_letter } | LaneOrigin::Discarded { dead_letter } = origin
    {
        let ids = [dead_letter.clone()];
        let letters = async { store.dead_letters_by_id(&ids).await.map_err(|error| error.to_string()) };
        let (page, letters) = tokio::try_join!(page, letters)?;
        // The event may have been edited, or the log trimmed: the letter keeps the event.
        if !page.events.is_empty() && letters.iter().all(|letter| letter.edit.is_none()) {
            return Ok(page.events.into_iter().collect());
        }
        let stored = |letter: DeadLetter| StoredEvent {
            event: letter.redriven_event().clone(),
            position: letter.position,
            stored_at: letter.created_at,
            replay_count: 0,
            last_replay_at: None,
        };
        return Ok(letters.into_iter().map(stored).collect());
    }
    Ok(page.await?.events.into_iter().collect())
}
