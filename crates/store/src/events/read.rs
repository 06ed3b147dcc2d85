//! Pages of the log. A page of one partition comes from its engine. A page of several partitions is merged by stored
//! time, then by partition.
//!
//! The merge returns an event only when the next event of every partition is known. The order is therefore the same for
//! every reader and every page size. A read that continues at a cursor returns the same events as a read without a
//! break.

use domain::{
    CorruptEvent, Cursor, Position,
    ports::{
        EventStoreError, Order, Page, ReadRequest,
        engine::{
            Entry, PartitionState, Scan, ScanPage,
            log::{bytes_of, sequence_of, stored_at},
        },
    },
};
use futures_util::future::try_join_all;

use crate::{
    Store,
    merge::{Merge, share},
    store::{check_reader, epoch_of},
};

/// The most bytes of events in one page, also with a higher limit. This bounds the memory of a page. The caller
/// continues at the cursor of the page.
const MAX_PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// The most rounds of partition reads for one page. This bounds the work for a page.
const MOST_ROUNDS: usize = 16;
/// The smallest byte limit that a partition gets for its share of a page.
const LEAST_BYTES: u64 = 256 * 1024;

/// Adds an entry to a page.
pub(super) fn add(page: &mut Page, partition: u16, entry: Entry) {
    match entry {
        Ok(stored) => page.events.push(stored),
        Err(damaged) => {
            let position = Position::new(partition, damaged.sequence);
            page.corrupt.push(CorruptEvent { position, detail: damaged.detail });
        }
    }
}

/// The state of a read in one partition.
struct PartitionCursor {
    /// The sequence that the read returned or passed last. In newest-first order it is the sequence above the next
    /// event. None means the start of the order, as long as that is unknown.
    given: Option<u64>,
    /// The sequence (exclusive) at which the next request to the partition continues.
    asked_to: Option<u64>,
    /// The high-water mark (inclusive). None means the head at the first request to the partition.
    until: Option<u64>,
    state: Option<PartitionState>,
    /// The limit of the last request to the partition.
    asked_for: usize,
}

impl PartitionCursor {
    /// Returns whether the partition can have no further event. It is then not asked.
    fn is_over(&self, order: Order) -> bool {
        match order {
            Order::OldestFirst => {
                self.until.is_some_and(|until| self.given.is_some_and(|given| given >= until))
            }
            Order::NewestFirst => self.until == Some(0) || self.given.is_some_and(|given| given <= 1),
        }
    }
}

struct Reading<'a> {
    store: &'a Store,
    request: &'a ReadRequest,
    places: Vec<PartitionCursor>,
    merge: Merge<Entry>,
    /// Whether a partition scanned as much as a page allows without a match.
    is_exhausted: bool,
}

impl Store {
    /// Returns a page of the only partition, with one engine call.
    pub(super) async fn only_page(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        let sequence = |cursor: &Option<Cursor>| match cursor {
            None => Ok(None),
            Some(cursor) => self.check_shape(cursor).map(|()| cursor.sequences.first().copied()),
        };
        let (after, until) = (sequence(&request.after)?, sequence(&request.until)?);
        let scan = Scan {
            filter: &request.filter,
            order: request.order,
            after,
            until,
            limit: request.limit.max(1),
            max_bytes: MAX_PAGE_BYTES,
        };
        let ScanPage { entries, next, state } = self.engine().scan(0, &scan).await?;
        self.learn(0, &state);
        let states = [state];
        for cursor in [&request.after, &request.until].into_iter().flatten() {
            self.check_epoch(&states, cursor.epoch)?;
            let [state] = &states;
            check_reader(0, state, cursor.sequence(0))?;
        }
        let mut page = Page::default();
        page.events.reserve(entries.len());
        for entry in entries {
            add(&mut page, 0, entry);
        }
        page.next = next.map(|next| self.cursor(&states, vec![next]));
        Ok(page)
    }

    pub(super) async fn merged_page(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        let mut reading = Reading::new(self, request)?;
        let mut page = Page::default();
        let (limit, mut bytes) = (request.limit.max(1), 0);
        for _ in 0..MOST_ROUNDS {
            let missing = limit - (page.events.len() + page.corrupt.len()).min(limit);
            reading.fill(missing).await?;
            reading.take(&mut page, limit, &mut bytes);
            let is_full = page.events.len() + page.corrupt.len() >= limit || bytes >= MAX_PAGE_BYTES;
            if is_full || reading.is_exhausted || reading.merge.is_over() {
                break;
            }
        }
        page.next = reading.next();
        Ok(page)
    }
}

impl<'a> Reading<'a> {
    fn new(store: &'a Store, request: &'a ReadRequest) -> Result<Self, EventStoreError> {
        let partitions = usize::from(store.partition_count());
        let sequences = |cursor: &Option<Cursor>| -> Result<Vec<Option<u64>>, EventStoreError> {
            match cursor {
                None => Ok(vec![None; partitions]),
                Some(cursor) => {
                    store.check_shape(cursor)?;
                    Ok(cursor.sequences.iter().copied().map(Some).collect())
                }
            }
        };
        let (after, until) = (sequences(&request.after)?, sequences(&request.until)?);
        let places = after.into_iter().zip(until).map(|(given, until)| PartitionCursor {
            given,
            asked_to: given,
            until,
            state: None,
            asked_for: 0,
        });
        let places = places.collect();
        Ok(Self { store, request, places, merge: Merge::new(partitions), is_exhausted: false })
    }

    /// Asks the partitions whose next event is unknown.
    async fn fill(&mut self, missing: usize) -> Result<(), EventStoreError> {
        let order = self.request.order;
        for at in self.merge.hungry() {
            if self.places.get(at).is_some_and(|place| place.is_over(order)) {
                self.merge.end(at);
            }
        }
        let open = self.merge.open();
        let max_bytes = (2 * MAX_PAGE_BYTES / open.max(1) as u64).max(LEAST_BYTES);
        let mut asks = Vec::new();
        for at in self.merge.hungry() {
            let Some(place) = self.places.get_mut(at) else { continue };
            // A partition that had more than its share gets twice the limit of its last request.
            place.asked_for =
                share(missing, open).max(place.asked_for.saturating_mul(2)).clamp(1, missing.max(1));
            let scan = Scan {
                filter: &self.request.filter,
                order,
                after: place.asked_to,
                until: place.until,
                limit: place.asked_for,
                max_bytes,
            };
            asks.push((at, scan));
        }
        let engine = self.store.engine();
        let pages = asks.iter().map(|(at, scan)| engine.scan(*at as u16, scan));
        for ((at, _), page) in asks.iter().zip(try_join_all(pages).await?) {
            self.put(*at, page)?;
        }
        self.check_epochs().await
    }

    /// Adds the page of a partition to the merge.
    fn put(&mut self, at: usize, page: ScanPage) -> Result<(), EventStoreError> {
        let order = self.request.order;
        let Some(place) = self.places.get_mut(at) else { return Ok(()) };
        if place.state.is_none() {
            let number = at as u16;
            if let Some(until) = &self.request.until {
                check_reader(number, &page.state, until.sequence(number))?;
            }
            if let Some(after) = &self.request.after {
                // In newest-first order the position is an upper bound (exclusive). The position after the newest event
                // is beyond the head.
                let bound = match order {
                    Order::OldestFirst => after.sequence(number),
                    Order::NewestFirst => after.sequence(number).saturating_sub(1),
                };
                check_reader(number, &page.state, bound)?;
            }
        }
        let until = *place.until.get_or_insert(page.state.head);
        place.given.get_or_insert(match order {
            Order::OldestFirst => 0,
            Order::NewestFirst => until.saturating_add(1),
        });
        place.asked_to = page.next;
        self.store.learn(at as u16, &page.state);
        place.state = Some(page.state);
        let ended = place.asked_to.is_none();
        self.is_exhausted |= page.entries.is_empty() && !ended;
        self.merge.put(at, page.entries, ended);
        self.passed(at);
        Ok(())
    }

    /// Advances the position of a partition when all its events of the merge were taken.
    fn passed(&mut self, at: usize) {
        if !self.merge.is_empty(at) {
            return;
        }
        let Some(place) = self.places.get_mut(at) else { return };
        let end = match self.request.order {
            Order::OldestFirst => place.until,
            Order::NewestFirst => Some(1),
        };
        place.given = place.asked_to.or(end);
    }

    /// Returns the log epoch, with the cached epoch of each partition that was not asked.
    fn epoch(&self) -> u64 {
        let known = (0u16..).zip(&self.places).map(|(number, place)| match &place.state {
            Some(state) => state.epoch,
            None => self.store.known_epoch(number),
        });
        epoch_of(known)
    }

    fn cursors(&self) -> impl Iterator<Item = &Cursor> {
        [&self.request.after, &self.request.until].into_iter().flatten()
    }

    /// Refuses a cursor of a log epoch that the log has not reached. A partition that was not asked may have had more
    /// epochs. Therefore all partitions are read before the cursor is refused.
    async fn check_epochs(&self) -> Result<(), EventStoreError> {
        let epoch = self.epoch();
        match self.cursors().find(|cursor| cursor.epoch > epoch) {
            Some(cursor) => self.store.check_epoch(&self.store.states().await?, cursor.epoch),
            None => Ok(()),
        }
    }

    /// Moves the next events to the page, as long as the next event of every partition is known.
    fn take(&mut self, page: &mut Page, limit: usize, bytes: &mut u64) {
        while page.events.len() + page.corrupt.len() < limit && *bytes < MAX_PAGE_BYTES {
            let next = match self.request.order {
                Order::OldestFirst => self.merge.take_first(stored_at),
                Order::NewestFirst => self.merge.take_last(stored_at),
            };
            let Some((at, entry)) = next else { return };
            if let Some(place) = self.places.get_mut(at) {
                place.given = Some(sequence_of(&entry));
            }
            *bytes += bytes_of(&entry);
            add(page, at as u16, entry);
            self.passed(at);
        }
    }

    /// Returns the cursor at which the next page continues. Returns none when no event can follow.
    fn next(&self) -> Option<Cursor> {
        if self.merge.is_over() {
            return None;
        }
        let sequences = self.places.iter().map(|place| place.given.unwrap_or(0)).collect();
        let epoch = self.cursors().map(|cursor| cursor.epoch).fold(self.epoch(), u64::max);
        Some(Cursor::new(self.store.info().store, epoch, sequences))
    }
}
