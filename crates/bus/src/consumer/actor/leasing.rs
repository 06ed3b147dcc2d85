//! Leases: renews them, takes new leases, releases segments above the share, and handles lost leases.

use std::{sync::Arc, time::Duration};

use domain::{
    group::{Gap, GroupSpec, Lease},
    ports::{GroupStoreError, LeaseRequest, Leases, Stores},
};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Actor, ConsumerError, Io, outage::Call};
use crate::consumer::segment::Segment;

/// The pause before orphaned leases are checked again.
const STRAYS_AGAIN: Duration = Duration::from_millis(100);

/// Requests leases, if the group is unchanged since the subscription. If the group was deleted and created again under
/// its name with another ordering, the result is [`GroupStoreError::NoGroup`]. If another consumer changed the group's
/// types, for example during a rollout of a new version, this consumer gets no leases. It would otherwise skip events
/// of types that it does not know.
async fn lease(
    store: &dyn Stores,
    request: &LeaseRequest,
    spec: &GroupSpec,
    made_at: Timestamp,
) -> Result<Leases, GroupStoreError> {
    let found = store.group(&request.group).await?.map(|status| status.record);
    let record = found.ok_or_else(|| GroupStoreError::NoGroup(request.group.clone()))?;
    let is_another =
        record.created_at != made_at || record.spec.key != spec.key || record.spec.segments != spec.segments;
    if is_another || record.spec.types != spec.types {
        store.leave(&request.group, &request.consumer, request.token).await?;
    }
    if is_another {
        return Err(GroupStoreError::NoGroup(request.group.clone()));
    }
    match record.spec.types == spec.types {
        true => store.lease(request).await,
        false => Ok(Leases::default()),
    }
}

impl Actor {
    pub(super) fn renew(&mut self, now: Instant) {
        if self.leasing || self.lease_again > now {
            return;
        }
        self.leasing = true;
        self.asking(Call::Lease);
        let request = LeaseRequest {
            group: self.rules.spec.name.clone(),
            consumer: self.settings.name.clone(),
            token: self.token,
            duration: self.settings.lease,
        };
        let store = Arc::clone(&self.shared.store);
        let (spec, made_at) = (self.rules.spec.clone(), self.rules.made_at);
        let gives_up_all = std::mem::take(&mut self.has_strays);
        let asked = Instant::now();
        self.io.spawn(async move {
            if gives_up_all
                && let Err(error) = store.leave(&request.group, &request.consumer, request.token).await
            {
                return Io::Leased(asked, Err(error));
            }
            Io::Leased(asked, lease(&*store, &request, &spec, made_at).await)
        });
    }

    pub(super) fn leased(&mut self, asked: Instant, leases: Result<Leases, GroupStoreError>) {
        self.leasing = false;
        let third = self.settings.lease / 3;
        self.lease_again = asked + third;
        let leases = match leases {
            Ok(leases) => leases,
            Err(GroupStoreError::NoGroup(name)) => {
                self.ended = Some(ConsumerError::GroupDeleted(name));
                return;
            }
            Err(error) => {
                let pause = self.fault(Call::Lease, &error);
                self.lease_again = Instant::now() + pause.min(third);
                return;
            }
        };
        self.answered_by_store(Call::Lease);
        let stands_aside = leases.share == 0;
        if stands_aside && !std::mem::replace(&mut self.stands_aside, stands_aside) {
            tracing::warn!(
                group = %self.rules.spec.name,
                "another subscription has changed the group's types: this consumer stands aside"
            );
        }
        self.stands_aside = stands_aside;
        self.lease_good_until = asked + self.settings.lease;
        let lost: Vec<u16> = self
            .segments
            .values()
            .filter(|segment| !leases.held.contains(&segment.lease))
            .map(|segment| segment.lease.segment)
            .collect();
        for number in lost {
            self.on_lease_lost(number);
        }
        self.arriving.retain(|_, (lease, _)| leases.held.contains(lease));
        self.record_orphaned_leases(&leases);
        let held = leases.held.len();
        for (lease, state) in leases.taken {
            self.arriving.insert(lease.segment, (lease, state));
        }
        self.activate_leases();
        self.release_surplus(&leases.surplus);
        if held < usize::from(leases.share) {
            // Other consumers will soon release some segments.
            self.lease_again = asked + (third / 4).min(Duration::from_millis(200));
        }
        self.note_gaps(leases.gaps);
        let segments = self.segments.keys().copied().collect();
        self.state.send_modify(|state| {
            state.segments = segments;
            state.share = leases.share;
        });
    }

    /// Looks for orphaned leases: the store says that this consumer holds them, but the consumer does not know them
    /// because an answer was lost. The store sends the state of a segment only when the segment is leased. So the
    /// consumer releases all its leases and takes them again. It needs two answers in a row, because one answer may
    /// have crossed a commit that released a segment.
    fn record_orphaned_leases(&mut self, leases: &Leases) {
        let is_known = |lease: &&Lease| {
            self.segments.get(&lease.segment).is_some_and(|segment| segment.lease == **lease)
                || leases.taken.iter().any(|(taken, _)| taken == *lease)
                || self.arriving.get(&lease.segment).is_some_and(|(arriving, _)| arriving == *lease)
        };
        let strays: Vec<Lease> = leases.held.iter().filter(|lease| !is_known(lease)).cloned().collect();
        self.has_strays = strays.iter().any(|stray| self.strays.contains(stray));
        if !strays.is_empty() {
            self.lease_again = Instant::now() + STRAYS_AGAIN;
        }
        self.strays = strays;
    }

    /// Starts work on leased segments without running handlers of an earlier lease.
    pub(super) fn activate_leases(&mut self) {
        if self.arriving.is_empty() {
            return;
        }
        let now = self.now();
        let is_free = |number: &u16| !self.running.values().any(|running| running.unit.segment == *number);
        let free: Vec<u16> = self.arriving.keys().copied().filter(is_free).collect();
        if !free.is_empty() {
            self.log.forget();
        }
        for number in free {
            let Some((lease, state)) = self.arriving.remove(&number) else { continue };
            let epoch = lease.epoch;
            let (segment, effects) = Segment::new(lease, state, &self.rules, now);
            self.segments.insert(number, segment);
            self.take_up(number, epoch, effects, now);
            self.look_again = Instant::now();
        }
    }

    /// Marks surplus segments for release. A marked segment is always released, because its ready deliveries may
    /// already be dropped. If the share grows again, the segment is leased again.
    pub(super) fn release_surplus(&mut self, surplus: &[u16]) {
        for number in surplus {
            if let Some(segment) = self.segments.get_mut(number) {
                segment.leaving = true;
            }
        }
    }

    pub(super) fn note_gaps(&mut self, gaps: Vec<Gap>) {
        for gap in gaps.iter().filter(|gap| !self.gaps.contains(gap)) {
            tracing::error!(
                group = %self.rules.spec.name, partition = gap.partition, from = gap.from, to = gap.to,
                "history was removed before this group had passed it"
            );
        }
        self.gaps = gaps;
    }
}
