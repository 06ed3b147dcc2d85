//! Reads the log, and fetches the events of blocked keys and of lane batches.

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
    fetch::{self, BatchEvents, BatchRequest, KeyEvents},
    log::Piece,
    segment::Segment,
    work::{Effects, FetchRequest, StepContext},
};

/// The request for a piece of the log.
pub(super) struct Asked {
    /// The cursor after which the piece begins.
    after: Cursor,
    /// The segments that were leased at the time of the request, with their lease epochs.
    leases: HashMap<u16, u64>,
}

/// The number of fetches in progress at which the consumer starts no further fetch.
const FETCHES: usize = 8;

impl Actor {
    pub(super) fn read(&mut self, now: Instant) {
        if self.reading || self.read_again > now {
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

    /// Distributes a piece of the log to the segments for which it was read and which continue at it. A segment that
    /// was leased after the request is skipped. Its cursor may be before the start of the piece, and it would miss the
    /// events between. Or its cursor is the same, but the log has lost its end and has other events there.
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
            // The log was restored from a backup meanwhile. This piece belongs to the log before the restore.
            return;
        }
        let now = self.now();
        let partitions = piece.through.sequences.len() as u16;
        let mut moments: HashMap<u16, StepContext<'_>> = HashMap::new();
        for stored in piece.events.iter().filter(|stored| self.rules.spec.takes(stored.event.event_type())) {
            let key = self.rules.spec.key.of(&stored.event);
            let number = segment_of(&key, stored.position.partition, partitions, self.rules.spec.segments);
            let segment = self.segments.get_mut(&number);
            let Some(segment) = segment.filter(|segment| goes_on(segment)) else { continue };
            let at = moments.entry(number).or_insert_with(|| StepContext::new(&self.rules, now));
            segment.offer(Key::from(key), stored, at);
        }
        for segment in self.segments.values_mut().filter(|segment| goes_on(segment)) {
            segment.was_read_to(piece.through.sequence(segment.partition));
        }
        let effects: Vec<(u16, Effects)> =
            moments.into_iter().map(|(number, at)| (number, at.effects)).collect();
        for (number, effects) in effects {
            let epoch = self.segments.get(&number).map_or(0, |segment| segment.lease.epoch);
            self.take_up(number, epoch, effects, now);
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

    /// Requests lane batches again after the pause of their failed fetch.
    pub(super) fn fetch_again(&mut self, now: Instant) {
        let due: Vec<(u16, u64)> = self
            .batches_again
            .extract_if(.., |(again, ..)| *again <= now)
            .map(|(_, number, epoch)| (number, epoch))
            .collect();
        for (number, epoch) in due {
            if self.is_leased(number, epoch) {
                self.with(number, |segment, at| segment.batch_fetch_failed(&mut at.effects));
            }
        }
    }

    /// Fetches the events that segments requested.
    pub(super) fn fetch(&mut self) {
        let mut batches = Vec::new();
        while self.fetches < FETCHES {
            let Some((number, epoch, want)) = self.fetch_requests.pop() else { break };
            let Some(segment) = self.segments.get(&number).filter(|segment| segment.lease.epoch == epoch)
            else {
                continue;
            };
            let partition = segment.partition;
            match want {
                FetchRequest::OfKey { key, from, through } => {
                    let Some(head) = self.head.borrow().clone() else {
                        self.fetch_requests.push((number, epoch, FetchRequest::OfKey { key, from, through }));
                        break;
                    };
                    let (store, spec) = (Arc::clone(&self.shared.store), self.rules.spec.clone());
                    self.io.spawn(async move {
                        let place = fetch::KeyRange { partition, from, through, head };
                        let events = fetch::of_key(&*store, &spec, &key, place).await;
                        Io::Key(number, epoch, key, events)
                    });
                    self.fetches += 1;
                }
                FetchRequest::OfBatch { batch } => {
                    let Some((positions, origin)) = segment.batch_to_fetch(batch) else { continue };
                    let segment = number;
                    batches.push(BatchRequest { segment, epoch, batch, partition, positions, origin });
                }
            }
        }
        for batches in fetch::reads(batches) {
            let store = Arc::clone(&self.shared.store);
            self.io.spawn(async move {
                let events = fetch::of_batches(&*store, &batches).await;
                Io::Batches(batches, events)
            });
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

    pub(super) fn batches_came(&mut self, batches: Vec<BatchRequest>, events: Result<BatchEvents, String>) {
        self.fetches -= 1;
        match events {
            Ok(events) => {
                self.answered_by_store(Call::Batch);
                for BatchRequest { segment, epoch, batch, .. } in batches {
                    if self.is_leased(segment, epoch) {
                        self.with(segment, |segment, at| segment.batch_fetched(batch, &events, at));
                    }
                }
            }
            Err(error) => {
                let again = Instant::now() + self.fault(Call::Batch, &error);
                let again = batches.into_iter().map(|batch| (again, batch.segment, batch.epoch));
                self.batches_again.extend(again);
            }
        }
    }
}
