//! Pages: of one partition as its engine gives them, of several merged by when events were stored, then by partition.
//!
//! An event is given once every partition has said what it has next: so the order is the same for every reader, in pages of
//! whatever size, and a read that is continued behind a cursor goes on as it would have.

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

/// Bytes of events that a page returns before it says "go on from here". Bounds memory, whatever limit was asked for.
const MAX_PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// How often partitions are asked for more within one page: a page bounds the work it does.
const MOST_ROUNDS: usize = 16;
/// The least that a partition returns of long events, before it says "go on from here".
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
    /// The sequence that was given last, or passed; against log order, the one above what is to come. None where it is not
    /// known yet: then it is where the order begins.
    given: Option<u64>,
    /// Where the next page begins behind, of a partition that is to be asked again.
    asked_to: Option<u64>,
    /// The mark (inclusive); none: the head, as it is when the partition is asked first.
    until: Option<u64>,
    state: Option<PartitionState>,
    /// How much it was asked for last.
    asked_for: usize,
}

impl PartitionCursor {
    /// Whether nothing can be there, so that it need not be asked.
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
    /// Whether a partition has looked at as much as a page may, and found nothing.
    is_exhausted: bool,
}

impl Store {
    /// A page of the only partition: one call of the engine.
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

    /// Asks the partitions of which it is not known what they have next.
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
            // One that had more than its share may go on so.
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

    /// Takes a partition's page in.
    fn put(&mut self, at: usize, page: ScanPage) -> Result<(), EventStoreError> {
        let order = self.request.order;
        let Some(place) = self.places.get_mut(at) else { return Ok(()) };
        if place.state.is_none() {
            let number = at as u16;
            if let Some(until) = &self.request.until {
                check_reader(number, &page.state, until.sequence(number))?;
            }
            if let Some(after) = &self.request.after {
                // Against log order the place is a bound from above: behind the newest event of all it is beyond the head.
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

    /// Where nothing known of a partition is left, the read has passed everything that it received.
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

    /// The log epoch, as far as it is known: of a partition that was not asked, the one that was read last.
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

    /// A cursor of a log epoch that the log has not come to is refused, whatever it marks. Partitions that were not asked may
    /// have had more epochs: so all are asked before anything is refused.
    async fn check_epochs(&self) -> Result<(), EventStoreError> {
        let epoch = self.epoch();
        match self.cursors().find(|cursor| cursor.epoch > epoch) {
            Some(cursor) => self.store.check_epoch(&self.store.states().await?, cursor.epoch),
            None => Ok(()),
        }
    }

    /// Moves what comes next to the page, as far as that is known.
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

    /// Where to go on; none where nothing can follow.
    fn next(&self) -> Option<Cursor> {
        if self.merge.is_over() {
            return None;
        }
        let sequences = self.places.iter().map(|place| place.given.unwrap_or(0)).collect();
        let epoch = self.cursors().map(|cursor| cursor.epoch).fold(self.epoch(), u64::max);
        Some(Cursor::new(self.store.info().store, epoch, sequences))
    }
}
