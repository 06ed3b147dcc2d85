//! Leases on segments: who may commit to what, and how a group's segments are shared.

use domain::{
    group::{Lease, SegmentState, fair_share},
    ports::{GroupStoreError, LeaseRequest, Leases},
};
use jiff::Timestamp;

use crate::{
    groups::{Group, Segment},
    state::{State, later},
};

/// A consumer that said it is there.
#[derive(Debug)]
pub(crate) struct Consumer {
    token: u64,
    pub(crate) alive_until: Timestamp,
}

impl Consumer {
    pub(crate) fn is_alive(&self, now: Timestamp) -> bool {
        now < self.alive_until
    }
}

/// The newest lease of a segment. It may commit until another takes its place, also when it is over or was given back:
/// then nobody else has seen the segment since.
#[derive(Debug)]
pub(crate) struct SegmentLease {
    epoch: u64,
    token: u64,
    pub(crate) consumer: String,
    /// Until when nobody else may take the segment; none once it was given back.
    until: Option<Timestamp>,
}

impl SegmentLease {
    pub(crate) fn is_good(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    pub(crate) fn give_back(&mut self) {
        self.until = None;
    }

    fn is_of(&self, consumer: &str, token: u64) -> bool {
        self.until.is_some() && self.consumer == consumer && self.token == token
    }
}

impl Segment {
    /// Whether a lease is the newest of this segment.
    pub(crate) fn is_newest(&self, lease: &Lease) -> bool {
        self.lease.as_ref().is_some_and(|own| (own.epoch, own.token) == (lease.epoch, lease.token))
    }

    fn is_free(&self, now: Timestamp) -> bool {
        self.lease.as_ref().is_none_or(|lease| !lease.is_good(now))
    }
}

pub(crate) fn lease(
    state: &mut State,
    request: &LeaseRequest,
    now: Timestamp,
) -> Result<Leases, GroupStoreError> {
    let (group, last_epoch) = state
        .groups
        .with_epochs(&request.group)
        .ok_or_else(|| GroupStoreError::NoGroup(request.group.clone()))?;
    let until = later(now, request.duration);
    group.record.last_seen_at = now;
    group.consumers.retain(|_, consumer| consumer.is_alive(now));
    group.consumers.insert(request.consumer.clone(), Consumer { token: request.token, alive_until: until });
    let alive = group.consumers.keys().map(String::as_str);
    let share = fair_share(group.record.spec.segments, 0, &request.consumer, alive);
    let mut held = extend(group, request, until);
    let mut taken = Vec::new();
    for (segment, at) in group.segments.iter_mut().zip(0..) {
        if held.len() >= usize::from(share) {
            break;
        }
        if segment.is_free(now) {
            *last_epoch += 1;
            let (lease, state) = take(segment, at, *last_epoch, request, until);
            held.push(lease.clone());
            taken.push((lease, state));
        }
    }
    held.sort_by_key(|lease| lease.segment);
    let surplus = Leases::beyond(share, &held);
    Ok(Leases { held, taken, share, surplus, gaps: group.record.gaps.clone() })
}

/// Extends what the consumer has under its token, also what was over and nobody took.
fn extend(group: &mut Group, request: &LeaseRequest, until: Timestamp) -> Vec<Lease> {
    let extended = group.segments.iter_mut().zip(0..).filter_map(|(segment, at)| {
        let lease = segment.lease.as_mut().filter(|lease| lease.is_of(&request.consumer, request.token))?;
        lease.until = Some(until);
        Some(Lease { group: request.group.clone(), segment: at, epoch: lease.epoch, token: lease.token })
    });
    extended.collect()
}

fn take(
    segment: &mut Segment,
    at: u16,
    epoch: u64,
    request: &LeaseRequest,
    until: Timestamp,
) -> (Lease, SegmentState) {
    let (consumer, token) = (request.consumer.clone(), request.token);
    segment.lease = Some(SegmentLease { epoch, token, consumer, until: Some(until) });
    (Lease { group: request.group.clone(), segment: at, epoch, token }, segment.state())
}

/// Where the group is gone there is nothing left to leave.
pub(crate) fn leave(state: &mut State, group: &str, consumer: &str, token: u64) {
    let Some(group) = state.groups.get_mut(group) else { return };
    if group.consumers.get(consumer).is_some_and(|known| known.token == token) {
        group.consumers.remove(consumer);
    }
    let leases = group.segments.iter_mut().filter_map(|segment| segment.lease.as_mut());
    for lease in leases.filter(|lease| lease.is_of(consumer, token)) {
        lease.give_back();
    }
}
