//! The source of a replay: the remaining events of the plan, cut into batches.
//!
//! A batch is cut once. Its end is written to the replay's record before any part of the batch is sent. Every later
//! runner therefore finds the same batches, even after an erasure or a trim.

use std::{collections::VecDeque, sync::Arc};

use domain::{
    Cursor, Position, StoredEvent,
    group::segment_of,
    ports::{EventStoreError, Page},
};

use crate::{
    job::batch::{Batch, Reference},
    pages::ReadAhead,
    record::TargetGroup,
    recorded::raise,
};

/// The number of events to read beyond the current batch.
const READ_AHEAD: usize = 1_000;

pub(crate) struct Source {
    pages: ReadAhead,
    groups: Arc<[TargetGroup]>,
    partitions: u16,
    batch_size: usize,
    queue: VecDeque<Reference>,
    corrupt: VecDeque<Position>,
    /// Whether all events were read.
    ended: bool,
    /// The number of the next batch.
    next: u64,
    /// The ends of the next batches.
    cuts: VecDeque<Cursor>,
    /// The number of ends that are in the record.
    written: usize,
    /// The number of events in the queue before the last cut.
    before_last_cut: usize,
    /// The end of the last batch that was cut.
    last_cut: Cursor,
    /// The end of the last batch that was taken.
    last_taken: Cursor,
    /// The number of next batches that another runner cut, and may have sent.
    inherited: usize,
    /// Whether the batches that were not taken have an old size.
    has_old_cuts: bool,
}

impl Source {
    /// Creates a source of the events after `after`. The first batch gets the number `next`. `cuts` are the ends in the
    /// record.
    pub(crate) fn new(
        pages: ReadAhead,
        groups: Arc<[TargetGroup]>,
        batch_size: usize,
        after: Cursor,
        next: u64,
        cuts: Vec<Cursor>,
    ) -> Self {
        Self {
            pages,
            groups,
            partitions: after.sequences.len() as u16,
            batch_size,
            queue: VecDeque::new(),
            corrupt: VecDeque::new(),
            ended: false,
            next,
            last_taken: after.clone(),
            inherited: cuts.len(),
            has_old_cuts: false,
            last_cut: cuts.last().cloned().unwrap_or(after),
            written: cuts.len(),
            before_last_cut: 0,
            cuts: cuts.into(),
        }
    }

    /// Returns whether more events should be read now.
    pub(crate) fn wants_more(&self) -> bool {
        !self.ended && self.queue.len() < self.batch_size + READ_AHEAD
    }

    /// Waits for the next page. Cancel-safe.
    pub(crate) async fn read(&mut self) -> Result<(), EventStoreError> {
        match self.pages.next().await {
            Some(page) => self.add(&page?),
            None => self.ended = true,
        }
        Ok(())
    }

    fn add(&mut self, page: &Page) {
        self.corrupt.extend(page.corrupt.iter().map(|corrupt| corrupt.position));
        for stored in &page.events {
            let reference = self.reference(stored);
            self.before_last_cut += usize::from(self.last_cut.covers(reference.position));
            self.queue.push_back(reference);
        }
    }

    fn reference(&self, stored: &StoredEvent) -> Reference {
        let (event, position) = (&stored.event, stored.position);
        let segment = |group: &TargetGroup| {
            let spec = &group.spec;
            spec.takes(event.event_type())
                .then(|| segment_of(&spec.key.of(event), position.partition, self.partitions, spec.segments))
        };
        Reference {
            position,
            id: event.id().into(),
            event_type: event.event_type().into(),
            segments: self.groups.iter().map(segment).collect(),
        }
    }

    /// Returns the number of the next batch.
    pub(crate) fn next_number(&self) -> u64 {
        self.next
    }

    /// Returns whether the next batch's end is in the record.
    pub(crate) fn is_written(&self) -> bool {
        self.written > 0
    }

    /// Sets the number of events of a batch, for batches that are not taken yet.
    pub(crate) fn set_batch_size(&mut self, batch_size: usize) {
        self.has_old_cuts = true;
        self.batch_size = batch_size;
    }

    /// Removes the cuts of an old batch size, so that [`Source::cut`] cuts their events again. Returns the number of these events.
    /// The cuts of another runner stay: it may have sent these batches.
    pub(crate) fn drop_old_cuts(&mut self) -> u64 {
        // The events before the last cut are counted once all of them were read.
        let is_read = self.ended || self.queue.len() > self.before_last_cut;
        if !self.has_old_cuts || !is_read {
            return 0;
        }
        self.has_old_cuts = false;
        self.cuts.truncate(self.inherited);
        self.written = self.written.min(self.cuts.len());
        self.last_cut = self.cuts.back().unwrap_or(&self.last_taken).clone();
        let before = self.queue.partition_point(|event| self.last_cut.covers(event.position));
        (std::mem::replace(&mut self.before_last_cut, before) - before) as u64
    }

    /// Cuts the events that were read into at most `most` batches, with at most `allowed` events. A batch is smaller than others at
    /// the end of the plan and where no more events are allowed. Returns the number of events that were cut.
    pub(crate) fn cut(&mut self, most: usize, allowed: u64) -> u64 {
        let mut allowed = allowed;
        let mut cut = 0;
        while self.cuts.len() < most {
            let left = self.queue.len() - self.before_last_cut;
            let whole =
                usize::try_from(allowed).map_or(self.batch_size, |allowed| self.batch_size.min(allowed));
            if left == 0 || whole == 0 || (left < whole && !self.ended) {
                break;
            }
            let size = left.min(whole);
            (allowed, cut) = (allowed - size as u64, cut + size as u64);
            for event in self.queue.range(self.before_last_cut..self.before_last_cut + size) {
                raise(&mut self.last_cut, event.position);
            }
            self.before_last_cut += size;
            self.cuts.push_back(self.last_cut.clone());
        }
        cut
    }

    /// Whether every batch that was cut is taken, and more events were read.
    pub(crate) fn is_drained(&self) -> bool {
        self.cuts.is_empty() && !self.queue.is_empty()
    }

    /// Returns the ends of the batches that were cut and not taken.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = &Cursor> {
        self.cuts.iter()
    }

    /// Marks all ends as written to the record.
    pub(crate) fn wrote(&mut self) {
        self.written = self.cuts.len();
    }

    /// Returns the next batch, if its end is in the record and all its events were read.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        let through = self.cuts.front().filter(|_| self.written > 0)?;
        let size = self.queue.partition_point(|event| through.covers(event.position));
        if size == self.queue.len() && !self.ended && size < self.batch_size {
            return None;
        }
        let through = self.cuts.pop_front()?;
        let corrupt = self.corrupt.partition_point(|position| through.covers(*position));
        self.corrupt.drain(..corrupt);
        let events = self.queue.drain(..size).collect();
        let number = self.next;
        self.next += 1;
        self.written -= 1;
        self.before_last_cut -= size;
        self.last_taken.clone_from(&through);
        self.inherited = self.inherited.saturating_sub(1);
        Some(Batch::new(number, through, events, corrupt as u64))
    }

    /// Returns whether no batch is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.ended && self.queue.is_empty() && self.cuts.is_empty()
    }

    /// Returns the number of damaged events after the last batch.
    pub(crate) fn corrupt_at_the_end(&self) -> u64 {
        self.corrupt.len() as u64
    }
}
