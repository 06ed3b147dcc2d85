//! Counts the pending events of groups, from the cursors of segments, the blocked keys (the ledger) and the log.
//!
//! The index counts the events after every cursor. The events between the oldest open event and the highest cursor are
//! checked one by one if the range is short. If it is long, the open events of each blocked key are looked up by the
//! key. The sum is a lower bound when the lookups exceed their limit.

use std::{collections::HashMap, sync::Arc};

use domain::{
    Filter, StorageFailure, StoredEvent,
    group::{BlockedKey, GroupKey, GroupSpec, Key, MAX_PENDING_LOOKS, Pending, segment_of},
    ports::{
        Order, RetentionMode,
        engine::{Scan, SpaceKind},
    },
};
use futures_util::future::join_all;

use super::{record::cursor_and_claim, status::blocked_keys};
use crate::{
    Store,
    partition::Partition,
    reached::reached,
    rows::{of, of_segment, read_rows, segment_in},
};

/// The most bytes of events in one page.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
/// The most blocked keys whose events are looked up by key, when the range has too many events to check.
const MOST_LOOKUPS: usize = 256;

impl Store {
    pub(super) async fn pending_of(&self, name: &str) -> Result<Option<Pending>, StorageFailure> {
        let partitions = self.partition_count();
        let asks = self.partitions().map(|partition| self.pending_in(partition, name, partitions));
        let mut whole: Option<Pending> = None;
        let mut is_whole = true;
        for part in reached(join_all(asks).await)? {
            match part {
                // A partition without its part of the group is about to lose the group, or to be repaired.
                Some(None) => {}
                Some(Some(part)) => whole.get_or_insert_default().add(part),
                None => is_whole = false,
            }
        }
        Ok(whole.map(|whole| Pending { is_exact: whole.is_exact && is_whole, ..whole }))
    }

    async fn pending_in(
        &self,
        partition: Partition<'_>,
        name: &str,
        partitions: u16,
    ) -> Result<Option<Pending>, StorageFailure> {
        let Some(group) = partition.group(name).await? else { return Ok(None) };
        let numbers: Vec<u16> = group.row.segments(partition.number, partitions).collect();
        let blocked = numbers.iter().map(|segment| of_segment(SpaceKind::Blocked, name, *segment));
        let spaces = std::iter::once(of(SpaceKind::Segment, name)).chain(blocked);
        let mut found = partition.all_of(spaces).await?;
        let cursors: HashMap<u16, (u64, u64)> = read_rows(found.range(), segment_in, cursor_and_claim)?;
        let mut rows = Vec::new();
        for segment in numbers {
            rows.extend(blocked_keys(found.range())?.into_iter().map(|row| (segment, row)));
        }
        let state = partition.state().await?;
        let filter = Arc::new(Filter { types: group.row.spec.types.clone(), ..Filter::default() });
        let open = Open::new(&group.row.spec, (partition.number, partitions), &cursors, rows);
        let count = Count {
            partition,
            filter,
            head: state.head,
            counted: Pending::default(),
            looks: MAX_PENDING_LOOKS,
        };
        count.of(&open, self.keeps()).await.map(Some)
    }
}

/// The open events of a group in a partition: the events that the group has not finished.
struct Open<'g> {
    spec: &'g GroupSpec,
    partition: (u16, u16),
    cursors: HashMap<u16, u64>,
    rows: HashMap<Key, (u16, BlockedKey)>,
}

impl<'g> Open<'g> {
    fn new(
        spec: &'g GroupSpec,
        partition: (u16, u16),
        cursors: &HashMap<u16, (u64, u64)>,
        rows: Vec<(u16, BlockedKey)>,
    ) -> Self {
        let cursors = cursors.iter().map(|(segment, (cursor, _))| (*segment, *cursor)).collect();
        let rows = rows.into_iter().map(|(segment, row)| (row.key.clone(), (segment, row))).collect();
        Self { spec, partition, cursors, rows }
    }

    /// Returns whether the group has not finished an event.
    fn is_open(&self, stored: &StoredEvent) -> bool {
        let sequence = stored.position.sequence;
        let own = self.spec.key.of(&stored.event);
        let segment = segment_of(&own, self.partition.0, self.partition.1, self.spec.segments);
        // A segment without a cursor is not created yet, or already deleted.
        let Some(cursor) = self.cursors.get(&segment) else { return false };
        let is_behind = sequence > *cursor;
        match self.rows.get(&Key::from(own)) {
            None => is_behind,
            Some((_, row)) => row.first_open() <= sequence && (is_behind || sequence <= row.through),
        }
    }

    /// Returns whether an open event is at or before its segment's cursor. A blocked key then covers the event.
    fn is_passed_and_open(&self, stored: &StoredEvent) -> bool {
        let own = Key::from(self.spec.key.of(&stored.event));
        let row = self.rows.get(&own).filter(|(_, row)| row.first_open() <= stored.position.sequence);
        row.is_some_and(|(segment, row)| stored.position.sequence <= self.passed_through(*segment, row))
    }

    /// Returns the last sequence that a blocked key covers and that its segment's cursor has passed.
    fn passed_through(&self, segment: u16, row: &BlockedKey) -> u64 {
        row.through.min(self.cursors.get(&segment).copied().unwrap_or(0))
    }

    /// Returns the sequence above which every event is open.
    fn all_above(&self) -> u64 {
        let cursors = self.cursors.values().copied();
        // A finished event of a blocked key can be after the cursor of its segment.
        let rows = self.rows.values().map(|(_, row)| row.first_open().saturating_sub(1));
        cursors.chain(rows).max().unwrap_or(0)
    }

    /// Returns the sequence up to which no event is after its segment's cursor.
    fn lowest_cursor(&self) -> u64 {
        self.cursors.values().copied().min().unwrap_or(0)
    }

    /// Returns, for each blocked key, the range of open events that its segment's cursor has passed. The oldest comes
    /// first.
    fn passed_rows(&self) -> Vec<(&Key, u64, u64)> {
        let part =
            |(segment, row): &(u16, BlockedKey)| (row.first_open(), self.passed_through(*segment, row));
        let mut rows: Vec<(&Key, u64, u64)> = self
            .rows
            .iter()
            .map(|(key, row)| (key, part(row)))
            .filter(|(_, (from, through))| from <= through)
            .map(|(key, (from, through))| (key, from, through))
            .collect();
        rows.sort_unstable_by_key(|(_, from, _)| *from);
        rows
    }
}

/// Counts the open events of one partition.
struct Count<'s> {
    partition: Partition<'s>,
    /// Selects events of the group's types.
    filter: Arc<Filter>,
    head: u64,
    counted: Pending,
    /// The number of events that may still be checked.
    looks: usize,
}

impl Count<'_> {
    async fn of(mut self, open: &Open<'_>, keeps: RetentionMode) -> Result<Pending, StorageFailure> {
        if open.cursors.is_empty() {
            return Ok(self.counted);
        }
        let rows = open.passed_rows();
        let top = open.all_above().min(self.head);
        let low = rows.first().map_or(u64::MAX, |(_, from, _)| from - 1).min(open.lowest_cursor());
        if keeps == RetentionMode::UntilDelivered {
            // Such a store has no index to count with.
            self.look(&self.filter.clone(), low, self.head, |stored| open.is_open(stored)).await?;
            return Ok(self.counted);
        }
        if low < top && self.count(top).await? - self.count(low).await? <= self.looks as u64 {
            self.look(&self.filter.clone(), low, top, |stored| open.is_open(stored)).await?;
        } else if low < top {
            let is_behind = |stored: &StoredEvent| open.is_open(stored) && !open.is_passed_and_open(stored);
            self.look(&self.filter.clone(), open.lowest_cursor(), top, is_behind).await?;
            self.looks = MAX_PENDING_LOOKS;
            self.rows(open, &rows).await?;
        }
        self.all_behind(top).await?;
        Ok(self.counted)
    }

    /// Returns the number of events of the group's types up to a sequence.
    async fn count(&self, until: u64) -> Result<u64, StorageFailure> {
        match until {
            0 => Ok(0),
            _ => self.partition.count(&self.filter, until).await,
        }
    }

    /// Adds every event of the group's types above a sequence, up to the head.
    async fn all_behind(&mut self, top: u64) -> Result<(), StorageFailure> {
        if top >= self.head {
            return Ok(());
        }
        let events = self.count(self.head).await?.saturating_sub(self.count(top).await?);
        let mut behind = Pending { events, ..Pending::default() };
        if events > 0 && self.counted.oldest.is_none() {
            let page = self.partition.scan(&self.scan(&self.filter, top, self.head, 1)).await?;
            behind.oldest = page.entries.iter().flatten().next().map(|stored| stored.stored_at);
        }
        self.counted.add(behind);
        Ok(())
    }

    /// Checks the open events of blocked keys, each key by a lookup.
    async fn rows(&mut self, open: &Open<'_>, rows: &[(&Key, u64, u64)]) -> Result<(), StorageFailure> {
        let (single, several): (Vec<_>, Vec<_>) =
            rows.iter().copied().partition(|(_, from, through)| from == through);
        let sequences: Vec<u64> = single.iter().map(|(_, from, _)| *from).take(self.looks).collect();
        for entry in self.partition.at(&sequences).await?.into_iter().flatten().flatten() {
            if open.is_passed_and_open(&entry) && self.filter.matches(&entry.event) {
                self.note(&entry);
            }
        }
        self.counted.is_exact &= single.len() <= self.looks && several.len() <= MOST_LOOKUPS;
        for (key, from, through) in several.into_iter().take(MOST_LOOKUPS) {
            if open.spec.key == GroupKey::All {
                // All events have the same key, so the index counts them.
                let events = self.count(through).await?.saturating_sub(self.count(from - 1).await?);
                let page = self.partition.scan(&self.scan(&self.filter, from - 1, through, 1)).await?;
                let oldest = page.entries.iter().flatten().next().map(|stored| stored.stored_at);
                self.counted.add(Pending { events, is_exact: true, oldest });
                continue;
            }
            let filter = Arc::new(Filter { types: self.filter.types.clone(), ..key.filter() });
            self.look(&filter, from - 1, through, |stored| open.is_passed_and_open(stored)).await?;
        }
        Ok(())
    }

    /// Checks the events of a range, until the limit on checked events is reached.
    async fn look(
        &mut self,
        filter: &Arc<Filter>,
        after: u64,
        until: u64,
        counts: impl Fn(&StoredEvent) -> bool,
    ) -> Result<(), StorageFailure> {
        let mut next = Some(after);
        while let Some(after) = next.filter(|after| *after < until) {
            if self.looks == 0 {
                self.counted.is_exact = false;
                return Ok(());
            }
            let page = self.partition.scan(&self.scan(filter, after, until, self.looks)).await?;
            self.looks = self.looks.saturating_sub(page.entries.len().max(1));
            for stored in page.entries.iter().flatten().filter(|stored| counts(stored)) {
                self.note(stored);
            }
            next = page.next;
        }
        Ok(())
    }

    fn note(&mut self, stored: &StoredEvent) {
        self.counted.add(Pending { events: 1, is_exact: true, oldest: Some(stored.stored_at) });
    }

    fn scan<'f>(&self, filter: &'f Arc<Filter>, after: u64, until: u64, limit: usize) -> Scan<'f> {
        let (after, until) = (Some(after), Some(until));
        Scan {
            filter,
            order: Order::OldestFirst,
            after,
            until,
            limit: limit.min(1_000),
            max_bytes: PAGE_BYTES,
        }
    }
}
