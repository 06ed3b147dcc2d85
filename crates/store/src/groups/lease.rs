//! Leases on segments: who may commit to what, and how a group's segments are shared.
//!
//! A segment's newest lease is its *fence*, which commits are guarded by; until when nobody else may take the segment is a row of
//! its own, so that renewing a lease does not disturb a commit on its way.

use std::collections::HashMap;

use domain::{
    StorageFailure,
    group::{Lease, SegmentState, fair_share},
    ports::{
        GroupStoreError, LeaseRequest, Leases,
        engine::{Guard, Read, SpaceKind, Transaction},
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
    retry::OptimisticRetry,
    rows::{
        LEASES, by_segment, consumer, counter, from_json, named, number, of, of_segment, segment_in, text_in,
        to_json,
    },
};

/// A segment as it was read.
struct Seen {
    segment: u16,
    place: Vec<u8>,
    fence: Option<(Fence, Vec<u8>)>,
    lease: Option<(LeaseRow, Vec<u8>)>,
}

impl Seen {
    /// Whether a consumer has it under its token: also where its time is over and nobody took it.
    fn is_of(&self, request: &LeaseRequest, generation: u64) -> bool {
        let fence = self
            .fence
            .as_ref()
            .is_some_and(|(fence, _)| fence.token == request.token && fence.generation() == generation);
        fence && self.lease.as_ref().is_some_and(|(lease, _)| lease.consumer == request.consumer)
    }

    /// Whether anybody may take it.
    fn is_free(&self, generation: u64, now: Timestamp) -> bool {
        // A lease of another generation cannot commit any more, whoever has it.
        let is_of_now = self.fence.as_ref().is_some_and(|(fence, _)| fence.generation() == generation);
        !is_of_now || self.lease.as_ref().is_none_or(|(lease, _)| lease.until <= now)
    }

    /// Demands that nothing has changed since.
    fn guard(&self, transaction: &mut Transaction, group: &str) {
        let row = |kind| by_segment(kind, group, self.segment);
        let (fence, lease) = (self.fence.as_ref(), self.lease.as_ref());
        transaction.guard(Guard::still(row(SpaceKind::Fence), fence.map(|(_, value)| &value[..])));
        transaction.guard(Guard::still(row(SpaceKind::Lease), lease.map(|(_, value)| &value[..])));
    }
}

/// A group's leases in one partition, as they were read.
struct ReadLeases {
    group: GroupRow,
    incarnation: Vec<u8>,
    leases: Option<Vec<u8>>,
    /// Consumers by name, each with the value of its row.
    consumers: Vec<(String, ConsumerRow, Vec<u8>)>,
    segments: Vec<Seen>,
    generation: u64,
    now: Timestamp,
}

/// What a consumer is to have.
struct Decision {
    share: u16,
    /// Segments that it has and keeps, by their place in the list.
    extended: Vec<usize>,
    /// Segments that it takes.
    taken: Vec<usize>,
}

impl ReadLeases {
    fn decide(&self, request: &LeaseRequest, partition: u16) -> Decision {
        let others = self.consumers.iter().filter(|(_, row, _)| self.now < row.until);
        let alive = others.map(|(name, ..)| name.as_str()).chain([request.consumer.as_str()]);
        let share = fair_share(self.segments.len() as u16, partition, &request.consumer, alive);
        let (mut extended, mut free) = (Vec::new(), Vec::new());
        for (at, seen) in self.segments.iter().enumerate() {
            if seen.is_of(request, self.generation) {
                extended.push(at);
            } else if seen.is_free(self.generation, self.now) {
                free.push(at);
            }
        }
        free.truncate(usize::from(share).saturating_sub(extended.len()));
        Decision { share, extended, taken: free }
    }
}

impl Store {
    pub(super) async fn lease_segments(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        if self.is_single() {
            return self.lease_in(self.first(), request).await;
        }
        // The first says whether there is the group: what is left or begun of one elsewhere is leased to nobody. Where it
        // cannot be reached, the others go on with what they have.
        let mut parts = vec![self.lease_in(self.first(), request).await];
        let goes_on =
            |part: &Result<_, GroupStoreError>| part.as_ref().err().is_none_or(Unreached::is_unreached);
        if parts.iter().all(goes_on) {
            parts.extend(join_all(self.others().map(|partition| self.lease_in(partition, request))).await);
        }
        let is_first_there = parts.first().is_some_and(Result::is_ok);
        for (partition, part) in self.partitions().zip(&mut parts).skip(1) {
            let Err(GroupStoreError::NoGroup(_)) = part else { continue };
            // A partition that has lost its part is mended; the first says what it was.
            *part = match is_first_there {
                true => self.mend_and_lease(partition, request).await,
                false => Ok(Leases::default()),
            };
        }
        let mut whole = Leases::default();
        // What cannot be reached is not held: whoever held it stops there, and goes on elsewhere.
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
        let mut retry = OptimisticRetry::new();
        loop {
            let read = partition.read_leases(&request.group).await?;
            let Some(read) = read else { return Err(GroupStoreError::NoGroup(request.group.clone())) };
            let decision = read.decide(request, partition.number);
            let (transaction, new) = leasing(&read, &decision, request)?;
            if !partition.is_committed(&transaction).await? {
                retry.again().await?;
                continue;
            }
            return Ok(self.leased(partition, request, read, &decision, &new).await?);
        }
    }

    /// What a consumer has now. Blocked keys of what it took are read afterwards, for none but the lease's holder changes them.
    async fn leased(
        &self,
        partition: Partition<'_>,
        request: &LeaseRequest,
        read: ReadLeases,
        decision: &Decision,
        new: &[Fence],
    ) -> Result<Leases, StorageFailure> {
        let lease = |segment: u16, fence: Fence| Lease {
            group: request.group.clone(),
            segment,
            epoch: fence.epoch,
            token: fence.token,
        };
        let segments = |places: &[usize]| -> Vec<&Seen> {
            places.iter().filter_map(|at| read.segments.get(*at)).collect()
        };
        let extended = segments(&decision.extended);
        let mut held: Vec<Lease> =
            extended.iter().filter_map(|seen| Some(lease(seen.segment, seen.fence.as_ref()?.0))).collect();
        for lease in &held {
            self.remembered().note_incarnation(lease, &read.incarnation);
        }
        let taken_segments = segments(&decision.taken);
        let mut blocked = Vec::new();
        if !taken_segments.is_empty() {
            let space = |seen: &&Seen| of_segment(SpaceKind::Blocked, &request.group, seen.segment);
            let mut found = partition.all_of(taken_segments.iter().map(space)).await?;
            blocked = taken_segments.iter().map(|_| blocked_keys(found.range())).collect::<Result<_, _>>()?;
        }
        let mut taken = Vec::with_capacity(taken_segments.len());
        for ((seen, fence), blocked) in taken_segments.into_iter().zip(new).zip(blocked) {
            let (cursor, claimed_to) = cursor_and_claim(&seen.place)?;
            let lease = lease(seen.segment, *fence);
            self.remembered().note_cursor(&lease, cursor);
            self.remembered().note_incarnation(&lease, &read.incarnation);
            held.push(lease.clone());
            taken.push((lease, SegmentState { partition: partition.number, cursor, claimed_to, blocked }));
        }
        held.sort_by_key(|lease| lease.segment);
        let surplus = Leases::beyond(decision.share, &held);
        Ok(Leases { held, taken, share: decision.share, surplus, gaps: read.group.gaps })
    }
}

/// What extends and takes leases, and the leases that are new.
fn leasing(
    read: &ReadLeases,
    decision: &Decision,
    request: &LeaseRequest,
) -> Result<(Transaction, Vec<Fence>), StorageFailure> {
    let group = &request.group;
    let until = later(read.now, request.duration);
    let lease = to_json(&LeaseRow { until, consumer: request.consumer.clone() })?;
    let mut transaction = Transaction::new().even_when_full();
    // A server that has lost something takes no lease of before, nor extends one.
    transaction.guard(Guard::Generation(read.generation));
    transaction.guard(Guard::Is(named(SpaceKind::Incarnation, group), read.incarnation.clone()));
    transaction.put(named(SpaceKind::GroupSeen, group), instant_value(read.now));
    let own = ConsumerRow { token: request.token, until };
    transaction.put(consumer(group, &request.consumer), to_json(&own)?);
    for seen in decision.extended.iter().filter_map(|at| read.segments.get(*at)) {
        seen.guard(&mut transaction, group);
        transaction.put(by_segment(SpaceKind::Lease, group, seen.segment), lease.clone());
    }
    let mut new = Vec::with_capacity(decision.taken.len());
    if !decision.taken.is_empty() {
        let last = number(read.leases.as_deref())?;
        transaction.guard(Guard::still(counter(LEASES), read.leases.as_deref()));
        transaction.put(counter(LEASES), (last + decision.taken.len() as u64).to_string());
        let numbers = last + 1..;
        for (seen, number) in decision.taken.iter().filter_map(|at| read.segments.get(*at)).zip(numbers) {
            let fence =
                Fence { epoch: (read.generation << 32) | (number & 0xffff_ffff), token: request.token };
            seen.guard(&mut transaction, group);
            let place = by_segment(SpaceKind::Segment, group, seen.segment);
            transaction.guard(Guard::Is(place, seen.place.clone()));
            transaction.put(by_segment(SpaceKind::Fence, group, seen.segment), fence.value());
            transaction.put(by_segment(SpaceKind::Lease, group, seen.segment), lease.clone());
            new.push(fence);
        }
    }
    // Consumers whose time is over are forgotten, unless they came back meanwhile.
    for (name, row, value) in &read.consumers {
        if row.until <= read.now && *name != request.consumer {
            transaction.step();
            transaction.guard(Guard::Is(consumer(group, name), value.clone()));
            transaction.delete(consumer(group, name));
        }
    }
    Ok((transaction, new))
}

impl Partition<'_> {
    /// A group's leases here; none where there is no such group.
    async fn read_leases(self, group: &str) -> Result<Option<ReadLeases>, StorageFailure> {
        let kinds = [SpaceKind::Segment, SpaceKind::Fence, SpaceKind::Lease, SpaceKind::Consumer];
        let mut reads = vec![
            Read::Row(named(SpaceKind::Group, group)),
            Read::Row(named(SpaceKind::Incarnation, group)),
            Read::Row(counter(LEASES)),
        ];
        reads.extend(kinds.map(|kind| Read::all(of(kind, group))));
        let mut found = self.get(&reads).await?;
        let (row, incarnation, leases) = (found.row(), found.row(), found.row());
        let (Some(row), Some(incarnation)) = (row, incarnation) else { return Ok(None) };
        let row: GroupRow = from_json(&row, format_args!("the group {group:?}"))?;
        let places = found.range();
        let mut fences: HashMap<Vec<u8>, Vec<u8>> = found.range().into_iter().collect();
        let mut until: HashMap<Vec<u8>, Vec<u8>> = found.range().into_iter().collect();
        let mut segments = Vec::with_capacity(places.len());
        for (key, place) in places {
            let fence = fences.remove(&key).map(|value| Ok((Fence::read(&value)?, value)));
            let lease = until.remove(&key).map(|value| Ok((LeaseRow::read(&value)?, value)));
            segments.push(Seen {
                segment: segment_in(&key)?,
                place,
                fence: fence.transpose().map_err(|failure: StorageFailure| failure)?,
                lease: lease.transpose().map_err(|failure: StorageFailure| failure)?,
            });
        }
        let mut consumers = Vec::new();
        for (key, value) in found.range() {
            consumers.push((text_in(&key)?, ConsumerRow::read(&value)?, value));
        }
        let (generation, now) = (found.generation, found.now);
        Ok(Some(ReadLeases { group: row, incarnation, leases, consumers, segments, generation, now }))
    }

    /// Forgets a consumer and frees what it holds under its token.
    pub(super) async fn leave(self, group: &str, name: &str, token: u64) -> Result<(), StorageFailure> {
        let Some(read) = self.read_leases(group).await? else { return Ok(()) };
        let request = LeaseRequest {
            group: group.to_owned(),
            consumer: name.to_owned(),
            token,
            duration: std::time::Duration::ZERO,
        };
        let mut transaction = Transaction::new().even_when_full();
        for seen in read.segments.iter().filter(|seen| seen.is_of(&request, read.generation)) {
            // The fence stays: what is on its way may still commit until another takes the segment.
            let fence = by_segment(SpaceKind::Fence, group, seen.segment);
            transaction.step();
            transaction.guard(Guard::still(fence, seen.fence.as_ref().map(|(_, value)| &value[..])));
            transaction.delete(by_segment(SpaceKind::Lease, group, seen.segment));
        }
        for (known, row, value) in &read.consumers {
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
