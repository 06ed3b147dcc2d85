//! Fetches events with known positions: events of a blocked key, and events to which a lane batch refers.

use std::collections::BTreeMap;

use domain::{
    Cursor, Filter, Position, StoredEvent,
    dead_letter::DeadLetter,
    group::{GroupSpec, Key, LaneOrigin},
    ports::{EventStore, EventStoreError, Order, ReadRequest, Stores},
};

use super::ledger::FETCH_AHEAD;

/// The part of the log that contains the events of a key.
#[derive(Debug, Clone)]
pub(crate) struct KeyRange {
    pub(crate) partition: u16,
    /// The first sequence.
    pub(crate) from: u64,
    /// The last sequence.
    pub(crate) through: u64,
    /// A cursor of the current log. The request takes its epoch and the number of its partitions.
    pub(crate) head: Cursor,
}

/// Events of a key.
#[derive(Debug)]
pub(crate) struct KeyEvents {
    pub(crate) events: Vec<StoredEvent>,
    /// The sequence up to which the key has no other events.
    pub(crate) complete_to: u64,
}

/// The number of references after which a read takes no further batch.
const REFERENCES_AT_ONCE: usize = 2_048;

/// A lane batch whose events must be fetched.
#[derive(Debug, Clone)]
pub(crate) struct BatchRequest {
    pub(crate) segment: u16,
    /// The epoch of the segment's lease.
    pub(crate) epoch: u64,
    /// The place of the batch in the lane.
    pub(crate) batch: u64,
    pub(crate) partition: u16,
    /// The sequences of the events, ascending.
    pub(crate) positions: Vec<u64>,
    pub(crate) origin: LaneOrigin,
}

/// Events of one partition, sorted by sequence.
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

/// Groups batches that are read together. A batch of a replay is a stretch of the log, divided among segments. A common
/// read of the parts reads the stretch in one piece.
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

/// Returns the first events of a key in a range.
pub(crate) async fn of_key(
    store: &dyn Stores,
    spec: &GroupSpec,
    key: &Key,
    place: KeyRange,
) -> Result<KeyEvents, EventStoreError> {
    let mark = |sequence: u64| {
        // The other partitions have no events of the key, so their range is empty.
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

/// Returns the event of a key that names the event's own id. A key of the kind `event` may name an entity of that kind
/// or the id of one event. The filter finds the events of the entity. This function looks up the single event, on the
/// first page.
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

/// Returns the existing events to which lane batches of one partition refer.
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
        // The dead letter also contains the event. It is used if the event was edited or the log was trimmed.
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
