//! Reports the state of events in a group, from the cursors of segments, the blocked keys and the dead letters. It only
//! reads.

use std::collections::{BTreeSet, HashMap};

use domain::{
    StorageFailure, StoredEvent,
    group::{BlockedKey, DeliveryState, EventDelivery, Key, SegmentPlace, segment_of},
    ports::engine::{Read, Snapshot, SpaceKind},
};

use super::record::{Fence, Group, LeaseRow, cursor_and_claim};
use crate::{
    Store,
    divided::Divided,
    partition::Partition,
    retry::OptimisticRetry,
    rows::{blocked, from_json, letter_at, of, read_rows, segment_in, text},
};

/// The most events of one call.
const PAGE: usize = 500;

/// An event with its key and segment in a group.
struct Placed<'e> {
    stored: &'e StoredEvent,
    segment: u16,
    key: Key,
}

impl Store {
    pub(super) async fn deliveries_of(
        &self,
        name: &str,
        events: &[StoredEvent],
    ) -> Result<Option<Vec<EventDelivery>>, StorageFailure> {
        if self.first().group(name).await?.is_none() {
            return Ok(None);
        }
        // An event counts as waiting if its partition reports no state.
        let unknown = EventDelivery { state: DeliveryState::Waiting, dead_letter: None };
        let divided = Divided::new(self, events.iter().map(|stored| (stored.position.partition, stored)));
        let partitions = self.partition_count();
        let asked =
            divided.ask(unknown, |(partition, events)| partition.deliveries(name, partitions, events));
        asked.await.map(Some)
    }
}

impl Partition<'_> {
    async fn deliveries(
        self,
        name: &str,
        partitions: u16,
        events: &[&StoredEvent],
    ) -> Result<Vec<EventDelivery>, StorageFailure> {
        let mut all = Vec::with_capacity(events.len());
        for events in events.chunks(PAGE) {
            match self.page_of_deliveries(name, partitions, events).await? {
                Some(page) => all.extend(page),
                // A partition without its part of the group is about to lose the group, or to be repaired.
                None => return Ok(Vec::new()),
            }
        }
        Ok(all)
    }

    async fn page_of_deliveries(
        self,
        name: &str,
        partitions: u16,
        events: &[&StoredEvent],
    ) -> Result<Option<Vec<EventDelivery>>, StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let Some(group) = self.group(name).await? else { return Ok(None) };
            let placed: Vec<Placed<'_>> =
                events.iter().map(|stored| self.place(&group, partitions, stored)).collect();
            let keys: BTreeSet<(u16, &Key)> =
                placed.iter().map(|event| (event.segment, &event.key)).collect();
            let kinds = [SpaceKind::Segment, SpaceKind::Fence, SpaceKind::Lease];
            let places = kinds.map(|kind| Read::all(of(kind, name)));
            let rows = keys.iter().map(|(segment, key)| Read::Row(blocked(name, *segment, key)));
            let letters = events.iter().map(|stored| Read::Row(letter_at(name, stored.position.sequence)));
            let reads: Vec<Read> =
                Group::reads(name).into_iter().chain(places).chain(rows).chain(letters).collect();
            let mut found = self.get(&reads).await?;
            // A group's key and segments never change. Only a new group of the same name has others.
            let Some(now) = Group::of(name, &mut found)?.filter(|now| now.is_of(&group.row)) else {
                retry.again().await?;
                continue;
            };
            let places = places_in(&mut found, now.row.began_after)?;
            let mut ledger: HashMap<&Key, BlockedKey> = HashMap::new();
            for (_, key) in &keys {
                if let Some(row) = found.row() {
                    ledger.insert(key, from_json(&row, "a blocked key")?);
                }
            }
            let mut deliveries = Vec::with_capacity(placed.len());
            let mut ids = Vec::new();
            for event in &placed {
                let place = places.get(&event.segment).copied().unwrap_or_default();
                let of = (event.stored.event.event_type(), event.stored.position.sequence);
                let state = DeliveryState::of(&now.row.spec, of, place, ledger.get(&event.key));
                deliveries.push(EventDelivery { state, dead_letter: None });
                ids.push(found.row().map(text).transpose()?);
            }
            self.add_letters(&mut deliveries, ids).await?;
            return Ok(Some(deliveries));
        }
    }

    fn place<'e>(self, group: &Group, partitions: u16, stored: &'e StoredEvent) -> Placed<'e> {
        let spec = &group.row.spec;
        let own = spec.key.of(&stored.event);
        let segment = segment_of(&own, self.number, partitions, spec.segments);
        Placed { stored, segment, key: own.into() }
    }

    /// Attaches the dead letters of these ids to their deliveries.
    async fn add_letters(
        self,
        deliveries: &mut [EventDelivery],
        ids: Vec<Option<String>>,
    ) -> Result<(), StorageFailure> {
        let known: Vec<String> = ids.iter().flatten().cloned().collect();
        let mut letters = self.letters(&known).await?.into_iter();
        for (delivery, _) in deliveries.iter_mut().zip(&ids).filter(|(_, id)| id.is_some()) {
            delivery.dead_letter = letters.next().flatten().map(|stored| stored.letter);
        }
        Ok(())
    }
}

/// Returns the place of each segment.
fn places_in(found: &mut Snapshot, began_after: u64) -> Result<HashMap<u16, SegmentPlace>, StorageFailure> {
    let cursors: Vec<(u16, (u64, u64))> = read_rows(found.range(), segment_in, cursor_and_claim)?;
    let fences: HashMap<u16, Fence> = read_rows(found.range(), segment_in, Fence::read)?;
    let leases: HashMap<u16, LeaseRow> = read_rows(found.range(), segment_in, LeaseRow::read)?;
    let is_leased = |segment: &u16| {
        fences.get(segment).is_some_and(|fence| fence.generation() == found.generation)
            && leases.get(segment).is_some_and(|lease| found.now < lease.until)
    };
    let place = |(segment, (cursor, claimed_to)): (u16, (u64, u64))| {
        (segment, SegmentPlace { began_after, cursor, claimed_to, is_leased: is_leased(&segment) })
    };
    Ok(cursors.into_iter().map(place).collect())
}
