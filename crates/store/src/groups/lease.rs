//! Leases on segments: which consumer may commit to a segment, and how consumers share a group's segments.
//!
//! The newest lease of a segment is its *fence*, and the fence guards the commits. The expiry of the lease is a
//! separate row, so that the renewal of a lease does not disturb a concurrent commit.

use std::collections::HashMap;

use domain::{
    StorageFailure,
    group::{Lease, SegmentState, fair_share},
    ports::{
        GroupStoreError, LeaseRequest, Leases,
        engine::{Guard, Read, Snapshot, SpaceKind, Transaction},
    },
    time::later,
};
use futures_util::future::join_all;
use jiff::Timestamp;

use super::{
    record::{ConsumerRow, Fence, GroupRow, LeaseRow, cursor_and_claim, instant_value},
    status::blocked_keys,
};
use crate::{
    Store,
    partition::Partition,
    reached::{Unreached, reached},
    rows::{
        LEASES, by_segment, consumer, counter, from_json, named, number, of, of_segment, read_rows,
        segment_in, text_in, to_json,
    },
};

/// A segment as it was read.
struct Seen {
    segment: u16,
    place: Vec<u8>,
    fence: Option<Fence>,
    lease: Option<(LeaseRow, Vec<u8>)>,
}

impl Seen {
    /// Returns the fence if it is of this generation. A lease of another generation can no longer commit.
    fn fence_of(&self, generation: u64) -> Option<Fence> {
        self.fence.filter(|fence| fence.generation() == generation)
    }

    /// Returns the lease of a consumer under its token. It also returns an expired lease that no other consumer has
    /// taken.
    fn held_by(&self, name: &str, token: u64, generation: u64) -> Option<Fence> {
        let fence = self.fence_of(generation).filter(|fence| fence.token == token);
        fence.filter(|_| self.lease.as_ref().is_some_and(|(lease, _)| lease.consumer == name))
    }

    /// Returns whether any consumer may take the segment.
    fn is_free(&self, generation: u64, now: Timestamp) -> bool {
        self.fence_of(generation).is_none() || self.lease.as_ref().is_none_or(|(lease, _)| lease.until <= now)
    }

    /// Puts a lease on the segment. The transaction is refused if the segment's lease has changed since the read.
    fn put_lease(&self, transaction: &mut Transaction, group: &str, lease: &[u8]) {
        let [fence_row, lease_row] =
            [SpaceKind::Fence, SpaceKind::Lease].map(|kind| by_segment(kind, group, self.segment));
        let value = self.lease.as_ref().map(|(_, value)| value.as_slice());
        transaction.guard(Guard::still(fence_row, self.fence.map(Fence::value).as_deref()));
        transaction.guard(Guard::still(lease_row.clone(), value)).put(lease_row, lease);
    }
}

/// A group's leases in one partition, as they were read.
struct ReadLeases {
    group: GroupRow,
    incarnation: Vec<u8>,
    /// The value of the lease counter.
    last: Option<Vec<u8>>,
    /// Consumers by name, each with the value of its row.
    consumers: Vec<(String, (ConsumerRow, Vec<u8>))>,
    segments: Vec<Seen>,
    generation: u64,
    now: Timestamp,
}

/// Decodes a row and returns it with its value, which a guard needs.
fn with_value<T>(
    read: impl Fn(&[u8]) -> Result<T, StorageFailure>,
) -> impl Fn(&[u8]) -> Result<(T, Vec<u8>), StorageFailure> {
    move |value| Ok((read(value)?, value.to_vec()))
}

impl ReadLeases {
    fn reads(group: &str) -> Vec<Read> {
        let kinds = [SpaceKind::Segment, SpaceKind::Fence, SpaceKind::Lease, SpaceKind::Consumer];
        let mut reads = vec![
            Read::Row(named(SpaceKind::Group, group)),
            Read::Row(named(SpaceKind::Incarnation, group)),
            Read::Row(counter(LEASES)),
        ];
        reads.extend(kinds.map(|kind| Read::all(of(kind, group))));
        reads
    }

    /// Decodes the answers to [`ReadLeases::reads`]. Returns none if the group does not exist.
    fn of(group: &str, found: &mut Snapshot) -> Result<Option<Self>, StorageFailure> {
        let (row, incarnation, last) = (found.row(), found.row(), found.row());
        let (Some(row), Some(incarnation)) = (row, incarnation) else { return Ok(None) };
        let row: GroupRow = from_json(&row, format_args!("the group {group:?}"))?;
        let places = found.range();
        let fences: HashMap<u16, Fence> = read_rows(found.range(), segment_in, Fence::read)?;
        let mut leases: HashMap<u16, _> = read_rows(found.range(), segment_in, with_value(LeaseRow::read))?;
        let consumers = read_rows(found.range(), text_in, with_value(ConsumerRow::read))?;
        let mut segments = Vec::with_capacity(places.len());
        for (key, place) in places {
            let segment = segment_in(&key)?;
            let (fence, lease) = (fences.get(&segment).copied(), leases.remove(&segment));
            segments.push(Seen { segment, place, fence, lease });
        }
        let (generation, now) = (found.generation, found.now);
        Ok(Some(Self { group: row, incarnation, last, consumers, segments, generation, now }))
    }

    /// Returns the new leases of a consumer, and the transaction that stores them. The consumer keeps its leases, and
    /// takes free segments up to its share. The blocked keys of the taken segments are left empty.
    fn grant(&self, request: &LeaseRequest, partition: u16) -> Result<(Leases, Transaction), StorageFailure> {
        let group = &request.group;
        let others = self.consumers.iter().filter(|(_, (row, _))| self.now < row.until);
        let alive = others.map(|(name, _)| name.as_str()).chain([request.consumer.as_str()]);
        let share = fair_share(self.segments.len() as u16, partition, &request.consumer, alive);
        let until = later(self.now, request.duration);
        let value = to_json(&LeaseRow { until, consumer: request.consumer.clone() })?;
        let mut transaction = Transaction::new().even_when_full();
        // After a loss of data the generation differs. The server then neither grants nor extends a lease on the
        // earlier state.
        transaction.guard(Guard::Generation(self.generation));
        transaction.guard(Guard::Is(named(SpaceKind::Incarnation, group), self.incarnation.clone()));
        transaction.put(named(SpaceKind::GroupSeen, group), instant_value(self.now));
        let own = ConsumerRow { token: request.token, until };
        transaction.put(consumer(group, &request.consumer), to_json(&own)?);
        let lease = |segment, fence: Fence| Lease {
            group: group.clone(),
            segment,
            epoch: fence.epoch,
            token: fence.token,
        };
        let (mut held, mut free) = (Vec::new(), Vec::new());
        for seen in &self.segments {
            if let Some(fence) = seen.held_by(&request.consumer, request.token, self.generation) {
                seen.put_lease(&mut transaction, group, &value);
                held.push(lease(seen.segment, fence));
            } else if seen.is_free(self.generation, self.now) {
                free.push(seen);
            }
        }
        free.truncate(usize::from(share).saturating_sub(held.len()));
        let mut taken = Vec::with_capacity(free.len());
        if !free.is_empty() {
            let last = number(self.last.as_deref())?;
            transaction.guard(Guard::still(counter(LEASES), self.last.as_deref()));
            transaction.put(counter(LEASES), (last + free.len() as u64).to_string());
            for (seen, number) in free.into_iter().zip(last + 1..) {
                let epoch = (self.generation << 32) | (number & 0xffff_ffff);
                let fence = Fence { epoch, token: request.token };
                let (cursor, claimed_to) = cursor_and_claim(&seen.place)?;
                seen.put_lease(&mut transaction, group, &value);
                let place = by_segment(SpaceKind::Segment, group, seen.segment);
                transaction.guard(Guard::Is(place, seen.place.clone()));
                transaction.put(by_segment(SpaceKind::Fence, group, seen.segment), fence.value());
                let lease = lease(seen.segment, fence);
                held.push(lease.clone());
                taken.push((lease, SegmentState { partition, cursor, claimed_to, blocked: Vec::new() }));
            }
        }
        // Removes expired consumers, unless they renewed meanwhile.
        for (name, (row, value)) in &self.consumers {
            if row.until <= self.now && *name != request.consumer {
                transaction.step();
                transaction.guard(Guard::Is(consumer(group, name), value.clone()));
                transaction.delete(consumer(group, name));
            }
        }
        held.sort_by_key(|lease| lease.segment);
        let surplus = Leases::beyond(share, &held);
        Ok((Leases { held, taken, share, surplus, gaps: self.group.gaps.clone() }, transaction))
    }
}

impl Store {
    pub(super) async fn lease_segments(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        if self.is_single() {
            return self.lease_in(self.first(), request).await;
        }
        // Partition 0 decides whether the group exists. Remainders or drafts in other partitions are not leased. If
        // partition 0 is unreachable, the other partitions lease the parts that they have.
        let mut parts = vec![self.lease_in(self.first(), request).await];
        let goes_on =
            |part: &Result<_, GroupStoreError>| part.as_ref().err().is_none_or(Unreached::is_unreached);
        if parts.iter().all(goes_on) {
            parts.extend(join_all(self.others().map(|partition| self.lease_in(partition, request))).await);
        }
        let is_first_there = parts.first().is_some_and(Result::is_ok);
        for (partition, part) in self.partitions().zip(&mut parts).skip(1) {
            let Err(GroupStoreError::NoGroup(_)) = part else { continue };
            // Partition 0 restores the part of a partition that has lost it.
            *part = match is_first_there {
                true => self.mend_and_lease(partition, request).await,
                false => Ok(Leases::default()),
            };
        }
        let mut whole = Leases::default();
        // A consumer holds no lease in an unreachable partition. It stops there, and continues in the other partitions.
        for part in reached(parts)?.into_iter().flatten() {
            whole.held.extend(part.held);
            whole.taken.extend(part.taken);
            whole.share += part.share;
            whole.surplus.extend(part.surplus);
            whole.gaps.extend(part.gaps);
        }
        whole.held.sort_by_key(|lease| lease.segment);
        whole.surplus.sort_unstable();
        whole.gaps.sort_by_key(|gap| gap.at);
        Ok(whole)
    }

    async fn mend_and_lease(
        &self,
        partition: Partition<'_>,
        request: &LeaseRequest,
    ) -> Result<Leases, GroupStoreError> {
        self.mend_group(partition, &request.group).await?;
        self.lease_in(partition, request).await
    }

    async fn lease_in(
        &self,
        partition: Partition<'_>,
        request: &LeaseRequest,
    ) -> Result<Leases, GroupStoreError> {
        let group = &request.group;
        let decision = |mut found| {
            let read = ReadLeases::of(group, &mut found)?;
            let read = read.ok_or_else(|| GroupStoreError::NoGroup(group.clone()))?;
            let (leases, transaction) = read.grant(request, partition.number)?;
            Ok::<_, GroupStoreError>(((leases, read.incarnation), Some(transaction)))
        };
        let (mut leases, incarnation) = partition.decide(&ReadLeases::reads(group), decision).await?;
        if !leases.taken.is_empty() {
            // The blocked keys are read after the lease is taken, because only the holder of the lease changes them.
            let space = |(lease, _): &(Lease, _)| of_segment(SpaceKind::Blocked, group, lease.segment);
            let mut found = partition.all_of(leases.taken.iter().map(space)).await?;
            for (lease, state) in &mut leases.taken {
                state.blocked = blocked_keys(found.range())?;
                self.remembered().note_cursor(lease, state.cursor);
            }
        }
        for lease in &leases.held {
            self.remembered().note_incarnation(lease, &incarnation);
        }
        Ok(leases)
    }
}

impl Partition<'_> {
    /// Removes a consumer, and frees the segments that it holds under its token.
    pub(super) async fn leave(self, group: &str, name: &str, token: u64) -> Result<(), StorageFailure> {
        let mut found = self.get(&ReadLeases::reads(group)).await?;
        let Some(read) = ReadLeases::of(group, &mut found)? else { return Ok(()) };
        let mut transaction = Transaction::new().even_when_full();
        for seen in &read.segments {
            let Some(fence) = seen.held_by(name, token, read.generation) else { continue };
            // The fence stays. A commit on its way may still succeed until another consumer takes the segment.
            transaction.step();
            transaction.guard(Guard::Is(by_segment(SpaceKind::Fence, group, seen.segment), fence.value()));
            transaction.delete(by_segment(SpaceKind::Lease, group, seen.segment));
        }
        for (known, (row, value)) in &read.consumers {
            if known == name && row.token == token {
                transaction.step();
                transaction.guard(Guard::Is(consumer(group, known), value.clone()));
                transaction.delete(consumer(group, known));
            }
        }
        match transaction.is_empty() {
            true => Ok(()),
            false => self.commit_one(&transaction).await.map(drop),
        }
    }
}
