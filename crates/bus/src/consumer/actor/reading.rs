//! Reading the log, and fetching the events of blocked keys and of lane batches.

use std::{collections::HashMap, sync::Arc};

use domain::{
    Cursor,
    group::{Key, segment_of},
    ports::EventStoreError,
    time::later,
};
use tokio::time::Instant;

use super::{Actor, FETCH_BELOW, Io, outage::Call};
use crate::consumer::{
    fetch::{self, BatchEvents, KeyEvents},
    log::Piece,
    segment::Segment,
    work::{Moment, Want, Wishes},
};

/// What a piece of the log was read for.
pub(super) struct Asked {
    /// It begins behind this.
    after: Cursor,
    /// The segments that were leased when it was asked for, each with the epoch of its lease.
    leases: HashMap<u16, u64>,
}

/// Fetches of blocked keys at once.
const FETCHES: usize = 8;

impl Actor {
    pub(super) fn read(&mut self) {
        if self.reading || self.read_again > Instant::now() {
            return;
        }
        let waiting: usize = self.staying().map(|segment| segment.unclaimed().0).sum();
        if waiting >= FETCH_BELOW {
            return;
        }
        let Some(head) = self.head.borrow().clone() else { return };
        let hungry = |segment: &&Segment| !segment.is_full() && !segment.leaving;
        let mut after = head.clone();
        for segment in self.segments.values().filter(hungry) {
            if let Some(sequence) = after.sequences.get_mut(usize::from(segment.partition)) {
                *sequence = (*sequence).min(segment.read_to());
            }
        }
        if after == head {
            return;
        }
        self.reading = true;
        let log = Arc::clone(&self.log);
        let leases = self.segments.iter().map(|(number, segment)| (*number, segment.lease.epoch)).collect();
        self.io.spawn(async move {
            let piece = log.read(&after, &head).await;
            Io::Read(Asked { after, leases }, piece)
        });
    }

    /// Spreads a piece of the log over the segments that it was read for and goes on for. One that was leased meanwhile may be
    /// behind its beginning, and must not take what comes later for what comes next. Or it is where it was, and the log has lost
    /// its end since and begun another.
    pub(super) fn came_from_log(&mut self, asked: &Asked, piece: Result<Piece, EventStoreError>) {
        let after = &asked.after;
        let goes_on = |segment: &Segment| {
            let lease = &segment.lease;
            asked.leases.get(&lease.segment) == Some(&lease.epoch) && segment.goes_on_from(after)
        };
        self.reading = false;
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                let pause = self.fault(Call::Read, &error);
                self.read_again = Instant::now() + pause;
                return;
            }
        };
        self.answered_by_store(Call::Read);
        if self.head.borrow().as_ref().is_some_and(|head| head.epoch != after.epoch) {
            // The log was restored from a backup meanwhile: this is a piece of the one before.
            return;
        }
        let now = self.now();
        let partitions = piece.through.sequences.len() as u16;
        let mut moments: HashMap<u16, Moment<'_>> = HashMap::new();
        for stored in piece.events.iter().filter(|stored| self.rules.spec.takes(stored.event.event_type())) {
            let key = self.rules.spec.key.of(&stored.event);
            let number = segment_of(&key, stored.position.partition, partitions, self.rules.spec.segments);
            let segment = self.segments.get_mut(&number);
            let Some(segment) = segment.filter(|segment| goes_on(segment)) else { continue };
            let at = moments.entry(number).or_insert_with(|| Moment::new(&self.rules, now));
            segment.offer(Key::from(key), stored, at);
        }
        for segment in self.segments.values_mut().filter(|segment| goes_on(segment)) {
            segment.was_read_to(piece.through.sequence(segment.partition));
        }
        let wishes: Vec<(u16, Wishes)> =
            moments.into_iter().map(|(number, at)| (number, at.wishes)).collect();
        for (number, wishes) in wishes {
            let epoch = self.segments.get(&number).map_or(0, |segment| segment.lease.epoch);
            self.take_up(number, epoch, wishes);
        }
        for segment in self.segments.values_mut() {
            if !segment.has_filled_up() {
                continue;
            }
            tracing::error!(
                group = %self.rules.spec.name, segment = segment.lease.segment, keys = segment.blocked_keys(),
                "the segment's ledger is full: it reads no further until keys are released"
            );
        }
    }

    /// Wishes again for lane batches whose fetch failed a while ago.
    pub(super) fn fetch_again(&mut self) {
        let now = Instant::now();
        let due: Vec<(u16, u64)> = self
            .batches_again
            .extract_if(.., |(again, ..)| *again <= now)
            .map(|(_, number, epoch)| (number, epoch))
            .collect();
        for (number, epoch) in due {
            if self.is_leased(number, epoch) {
                self.with(number, |segment, at| segment.batch_fetch_failed(&mut at.wishes));
            }
        }
    }

    /// Fetches what segments wish for.
    pub(super) fn fetch(&mut self) {
        while self.fetches < FETCHES {
            let Some((number, epoch, want)) = self.wants.pop() else { return };
            let Some(segment) = self.segments.get(&number).filter(|segment| segment.lease.epoch == epoch)
            else {
                continue;
            };
            let partition = segment.partition;
            let Some(head) = self.head.borrow().clone() else {
                self.wants.push((number, epoch, want));
                return;
            };
            let store = Arc::clone(&self.shared.store);
            match want {
                Want::OfKey { key, from, through } => {
                    let spec = self.rules.spec.clone();
                    self.io.spawn(async move {
                        let place = fetch::Place { partition, from, through, head };
                        let events = fetch::of_key(&*store, &spec, &key, place).await;
                        Io::Key(number, epoch, key, events)
                    });
                }
                Want::OfBatch { batch } => {
                    let Some((positions, origin)) = segment.batch_to_fetch(batch) else { continue };
                    self.io.spawn(async move {
                        let events = fetch::of_batch(&*store, partition, &positions, &origin).await;
                        Io::Batch(number, epoch, batch, events)
                    });
                }
            }
            self.fetches += 1;
        }
    }

    pub(super) fn is_leased(&self, number: u16, epoch: u64) -> bool {
        self.segments.get(&number).is_some_and(|segment| segment.lease.epoch == epoch)
    }

    pub(super) fn key_came(
        &mut self,
        number: u16,
        epoch: u64,
        key: &Key,
        events: Result<KeyEvents, EventStoreError>,
    ) {
        self.fetches -= 1;
        if !self.is_leased(number, epoch) {
            return;
        }
        let now = self.now();
        match events {
            Ok(KeyEvents { events, complete_to }) => {
                self.answered_by_store(Call::Key);
                self.with(number, |segment, at| {
                    segment.key_fetched(key, events, complete_to, at);
                });
            }
            Err(error) => {
                let pause = self.fault(Call::Key, &error);
                let again = later(now, pause);
                self.with(number, |segment, _| segment.key_fetch_failed(key, again));
            }
        }
    }

    pub(super) fn batch_came(
        &mut self,
        number: u16,
        epoch: u64,
        batch: u64,
        events: Result<BatchEvents, String>,
    ) {
        self.fetches -= 1;
        if !self.is_leased(number, epoch) {
            return;
        }
        match events {
            Ok(events) => {
                self.answered_by_store(Call::Batch);
                self.with(number, |segment, at| {
                    segment.batch_fetched(batch, events, at);
                });
            }
            Err(error) => {
                let pause = self.fault(Call::Batch, &error);
                self.batches_again.push((Instant::now() + pause, number, epoch));
            }
        }
    }
}
