//! Pages of several partitions, merged by when events were stored, then by partition.
//!
//! An event is only given once every partition has said what it has next: so the order is the same whoever reads, in pages
//! of whatever size, and a read that is taken up again behind a cursor goes on as it would have.

use std::sync::Arc;

use domain::{
    CorruptEvent, Cursor, StoredEvent,
    ports::{EventStoreError, Order, Page, ReadRequest},
};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::{RedisStore, epoch_of, outward};
use crate::{
    merge::{Merge, share},
    partition::Partition,
    read::{self, MAX_PAGE_BYTES},
    state::State,
};

/// How often partitions are asked for more within one page: a page bounds the work it does.
const MOST_ROUNDS: usize = 16;
/// The least that a partition returns of long events, before it says "go on from here".
const LEAST_BYTES: u64 = 256 * 1024;

/// What a partition has next.
enum Item {
    Event(StoredEvent),
    Corrupt(CorruptEvent),
}

impl Item {
    fn sequence(&self) -> u64 {
        match self {
            Self::Event(stored) => stored.position.sequence,
            Self::Corrupt(corrupt) => corrupt.position.sequence,
        }
    }

    /// A damaged event cannot say when it was stored: it comes as soon as its turn in its own partition does.
    fn stored_at(&self) -> Option<Timestamp> {
        match self {
            Self::Event(stored) => Some(stored.stored_at),
            Self::Corrupt(_) => None,
        }
    }
}

/// Where a read is in one partition.
struct Place {
    /// The sequence that was given last, or passed; against log order, the one above what is to come. None where it is not
    /// known yet: then it is where the order begins.
    given: Option<u64>,
    /// Where the next page begins behind, of a partition that is to be asked again.
    asked_to: Option<u64>,
    /// The mark (inclusive); none: the head, as it is when the partition is asked first.
    until: Option<u64>,
    epoch: u64,
    /// How much it was asked for last.
    asked_for: usize,
}

impl Place {
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
    store: &'a RedisStore,
    request: &'a ReadRequest,
    places: Vec<Place>,
    merge: Merge<Item>,
    /// Damaged events among what is known.
    damaged: usize,
    /// Whether a partition has looked at as much as a page may, and found nothing.
    is_tired: bool,
}

impl RedisStore {
    pub(super) async fn merged_page(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        let mut reading = Reading::new(self, request)?;
        let mut page = Page::default();
        let (limit, mut bytes) = (request.limit.max(1), 0);
        for _ in 0..MOST_ROUNDS {
            let missing = limit - (page.events.len() + page.corrupt.len()).min(limit);
            reading.fill(missing).await?;
            reading.take(&mut page, limit, &mut bytes);
            let is_full = page.events.len() + page.corrupt.len() >= limit || bytes >= MAX_PAGE_BYTES;
            if is_full || reading.is_tired || reading.merge.is_over() {
                break;
            }
        }
        page.next = reading.next();
        Ok(page)
    }
}

impl<'a> Reading<'a> {
    fn new(store: &'a RedisStore, request: &'a ReadRequest) -> Result<Self, EventStoreError> {
        let sequences = |cursor: &Option<Cursor>| -> Result<Vec<Option<u64>>, EventStoreError> {
            match cursor {
                None => Ok(vec![None; store.partitions().len()]),
                Some(cursor) => {
                    store.divide(cursor)?;
                    Ok(cursor.sequences.iter().copied().map(Some).collect())
                }
            }
        };
        let (after, until) = (sequences(&request.after)?, sequences(&request.until)?);
        let places = after.into_iter().zip(until).zip(store.partitions());
        let place = |((given, until), partition): (_, &Partition)| Place {
            given,
            asked_to: given,
            until,
            epoch: partition.known_epoch(),
            asked_for: 0,
        };
        let places: Vec<Place> = places.map(place).collect();
        Ok(Self { store, request, merge: Merge::new(places.len()), places, damaged: 0, is_tired: false })
    }

    /// Asks the partitions of which it is not known what they have next.
    async fn fill(&mut self, missing: usize) -> Result<(), EventStoreError> {
        let order = self.request.order;
        for at in self.merge.hungry() {
            if self.places.get(at).is_some_and(|place| place.is_over(order)) {
                self.merge.end(at);
            }
        }
        let hungry = self.merge.hungry();
        let open = self.merge.open();
        let most_bytes = (2 * MAX_PAGE_BYTES / open.max(1) as u64).max(LEAST_BYTES);
        let mut asks = Vec::with_capacity(hungry.len());
        for at in hungry {
            let (Some(place), Some(partition)) = (self.places.get_mut(at), self.store.partitions().get(at))
            else {
                continue;
            };
            // One that had more than its share may go on so.
            place.asked_for =
                share(missing, open).max(place.asked_for.saturating_mul(2)).clamp(1, missing.max(1));
            asks.push((at, partition, place.request(self.store, self.request)));
        }
        let pages = asks.iter().map(|(at, partition, request)| ask(*at, partition, request, most_bytes));
        let pages = try_join_all(pages).await?;
        for (at, page, state) in pages {
            self.came(at, page, &state)?;
        }
        self.check_epoch().await
    }

    /// Takes a partition's page in.
    fn came(&mut self, at: usize, page: Page, state: &State) -> Result<(), EventStoreError> {
        let Some(place) = self.places.get_mut(at) else { return Ok(()) };
        place.epoch = state.epoch;
        let until = *place.until.get_or_insert(state.head);
        let order = self.request.order;
        place.given.get_or_insert(match order {
            Order::OldestFirst => 0,
            Order::NewestFirst => until.saturating_add(1),
        });
        place.asked_to = page.next.as_ref().map(|next| next.sequence(0));
        let ended = place.asked_to.is_none();
        self.damaged += page.corrupt.len();
        let events = page.events.into_iter().map(Item::Event);
        let mut items: Vec<Item> = events.chain(page.corrupt.into_iter().map(Item::Corrupt)).collect();
        match order {
            Order::OldestFirst => items.sort_by_key(Item::sequence),
            Order::NewestFirst => items.sort_by_key(|item| std::cmp::Reverse(item.sequence())),
        }
        self.is_tired |= items.is_empty() && !ended;
        self.merge.put(at, items, ended);
        self.passed(at);
        Ok(())
    }

    /// Where nothing known of a partition is left, the read has passed all that it was told of.
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

    fn epoch(&self) -> u64 {
        epoch_of(self.places.iter().map(|place| place.epoch))
    }

    fn cursors(&self) -> impl Iterator<Item = &Cursor> {
        [&self.request.after, &self.request.until].into_iter().flatten()
    }

    /// A cursor of a log epoch that the log has not come to is refused, whatever it marks. Of partitions that were not
    /// asked an old epoch may be known: so all are asked, before anything is refused.
    async fn check_epoch(&self) -> Result<(), EventStoreError> {
        let epoch = self.epoch();
        if let Some(cursor) = self.cursors().find(|cursor| cursor.epoch > epoch) {
            self.store.check(&self.store.states().await?, cursor)?;
        }
        Ok(())
    }

    /// Moves what comes next to the page, as far as that is known.
    fn take(&mut self, page: &mut Page, limit: usize, bytes: &mut u64) {
        while page.events.len() + page.corrupt.len() < limit && *bytes < MAX_PAGE_BYTES {
            let Some((at, item)) = self.take_next() else { return };
            if let Some(place) = self.places.get_mut(at) {
                place.given = Some(item.sequence());
            }
            match item {
                Item::Event(mut stored) => {
                    *bytes += stored.event.size_bytes() as u64;
                    outward(&mut stored.position, at);
                    page.events.push(stored);
                }
                Item::Corrupt(mut corrupt) => {
                    outward(&mut corrupt.position, at);
                    page.corrupt.push(corrupt);
                }
            }
            self.passed(at);
        }
    }

    fn take_next(&mut self) -> Option<(usize, Item)> {
        for at in if self.damaged > 0 { 0..self.places.len() } else { 0..0 } {
            if let Some(damaged) = self.merge.take_from(at, |item| matches!(item, Item::Corrupt(_))) {
                self.damaged -= 1;
                return Some((at, damaged));
            }
        }
        match self.request.order {
            Order::OldestFirst => self.merge.take_first(Item::stored_at),
            Order::NewestFirst => self.merge.take_last(Item::stored_at),
        }
    }

    /// Where to go on; none where nothing can follow.
    fn next(&self) -> Option<Cursor> {
        if self.merge.is_over() {
            return None;
        }
        let sequences = self.places.iter().map(|place| place.given.unwrap_or(0)).collect();
        let epoch = self.cursors().map(|cursor| cursor.epoch).fold(self.epoch(), u64::max);
        Some(Cursor::new(self.store.inner.store, epoch, sequences))
    }
}

impl Place {
    /// What the partition is asked for. Against log order the place is a bound from above, as the mark is: the place behind
    /// the newest event of all may be beyond the head.
    fn request(&self, store: &RedisStore, whole: &ReadRequest) -> ReadRequest {
        let (after, until) = match (whole.order, self.asked_to) {
            (_, None) => (None, self.until),
            (Order::OldestFirst, after) => (after, self.until),
            (Order::NewestFirst, Some(after)) => {
                let below = after.saturating_sub(1);
                (None, Some(self.until.map_or(below, |until| until.min(below))))
            }
        };
        ReadRequest {
            filter: Arc::clone(&whole.filter),
            order: whole.order,
            after: after.map(|after| store.local(after)),
            until: until.map(|until| store.local(until)),
            limit: self.asked_for,
        }
    }
}

async fn ask(
    at: usize,
    partition: &Partition,
    request: &ReadRequest,
    most_bytes: u64,
) -> Result<(usize, Page, State), EventStoreError> {
    let (page, state) = read::page_with_state(partition, request, most_bytes).await?;
    Ok((at, page, state))
}
