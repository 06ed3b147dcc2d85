//! The model: groups as plain lists, with the simplest interpretation of the ports' laws.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    Event,
    dead_letter::DeadLetter,
    group::{
        BlockedKey, GroupSpec, GroupStatus, Key, LaneBatch, LaneOrigin, LaneProgress, LaneResult, Lease,
        NewLaneBatch, SegmentState,
    },
    ports::{EnqueueOutcome, LeaseRequest, Leases},
};
use jiff::{SignedDuration, Timestamp};

/// The newest lease of a segment.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) lease: Lease,
    consumer: String,
    until: Timestamp,
    pub(super) given_back: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Segment {
    pub(super) partition: u16,
    pub(super) cursor: u64,
    pub(super) claimed_to: u64,
    pub(super) rows: BTreeMap<Key, BlockedKey>,
    /// Batches in order. The place 0 means that the store has not reported the place yet.
    pub(super) lane: Vec<LaneBatch>,
    last_place: u64,
    /// Places of batches that were withdrawn.
    pub(super) withdrawn: Vec<u64>,
    had: BTreeSet<(String, u64)>,
    pub(super) held: Option<Held>,
    top_epoch: u64,
}

#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) spec: GroupSpec,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    pub(super) segments: Vec<Segment>,
    partitions: u16,
    alive: BTreeMap<String, Timestamp>,
}

#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Events of each partition, in order.
    pub(super) log: Vec<Vec<Event>>,
    pub(super) groups: BTreeMap<String, Group>,
    /// Dead letters by creation time. An empty id means that the store has not reported the id yet.
    pub(super) letters: Vec<DeadLetter>,
    pub(super) results: BTreeMap<String, Vec<LaneResult>>,
}

impl Segment {
    fn begun(partition: u16, cursor: u64) -> Self {
        Self { partition, cursor, claimed_to: cursor, ..Self::default() }
    }

    fn is_free(&self, now: Timestamp) -> bool {
        self.held.as_ref().is_none_or(|held| held.given_back || held.until < now)
    }

    pub(super) fn state(&self) -> SegmentState {
        SegmentState {
            partition: self.partition,
            cursor: self.cursor,
            claimed_to: self.claimed_to,
            blocked: self.rows.values().cloned().collect(),
        }
    }

    pub(super) fn push(&mut self, segment: u16, origin: LaneOrigin, positions: Vec<u64>) {
        self.lane.push(LaneBatch { seq: 0, segment, origin, positions, progress: LaneProgress::default() });
    }

    /// Checks a lane that was read, and adopts the places of its new batches.
    pub(super) fn check_lane(&mut self, read: &[LaneBatch]) {
        for (own, read) in self.lane.iter_mut().zip(read) {
            if own.seq == 0 {
                assert!(read.seq > self.last_place, "a place after {}: {read:?}", self.last_place);
                self.last_place = read.seq;
                own.seq = read.seq;
            }
        }
        assert_eq!(read, self.lane);
    }
}

impl Group {
    /// Returns the lowest and the highest number of references that may still be waiting in a segment's lane.
    fn waiting(segment: &Segment) -> (u64, u64) {
        let all: usize = segment.lane.iter().map(|batch| batch.positions.len()).sum();
        let done: usize = segment.lane.iter().map(|batch| batch.progress.done.len()).sum();
        ((all - done) as u64, all as u64)
    }

    pub(super) fn check_status(&self, status: &GroupStatus, now: Timestamp) {
        let record = &status.record;
        assert_eq!(record.spec, self.spec);
        assert_eq!((record.created_at, record.last_seen_at), (self.created_at, self.last_seen_at));
        assert_eq!((record.gaps.len(), status.segments.len()), (0, self.segments.len()));
        for ((at, own), seen) in self.segments.iter().enumerate().zip(&status.segments) {
            let rows = || own.rows.values();
            let place = (usize::from(seen.segment), seen.partition, seen.cursor);
            assert_eq!(place, (at, own.partition, own.cursor));
            assert_eq!(seen.blocked_keys, own.rows.len() as u64, "in segment {at}");
            assert_eq!(seen.parked_keys, rows().filter(|row| row.due.is_none()).count() as u64);
            assert_eq!(seen.oldest_blocked, rows().map(|row| row.position).min(), "in segment {at}");
            let (least, most) = Self::waiting(own);
            assert!((least..=most).contains(&seen.lane), "{seen:?}, and {least} to {most} references");
            match &own.held {
                Some(held) if held.given_back => assert_eq!(seen.consumer, None),
                // The status may show or omit the consumer of an expired lease.
                Some(held) if held.until < now => {}
                Some(held) => assert_eq!(seen.consumer.as_ref(), Some(&held.consumer)),
                None => assert_eq!(seen.consumer, None),
            }
        }
        let consumers: Vec<_> =
            status.consumers.iter().map(|it| (it.name.as_str(), it.alive_until, it.segments)).collect();
        let alive = self.alive.iter().filter(|(_, until)| **until > now);
        let of = |name: &str| {
            let held = self.segments.iter().filter_map(|segment| segment.held.as_ref());
            held.filter(|held| !held.given_back && held.consumer == name && held.until > now).count() as u16
        };
        let expected: Vec<_> = alive.map(|(name, until)| (name.as_str(), *until, of(name))).collect();
        assert_eq!(consumers, expected);
    }

    /// Checks the answer to a consumer, and adopts the segments that the consumer got.
    pub(super) fn lease(&mut self, request: &LeaseRequest, answer: &Leases, now: Timestamp) {
        let until = now + SignedDuration::try_from(request.duration).unwrap();
        self.last_seen_at = now;
        self.alive.retain(|_, until| *until > now);
        self.alive.insert(request.consumer.clone(), until);
        let rank = self.alive.keys().position(|name| *name == request.consumer).unwrap();
        // Segments are assigned to consumers in turn, one partition after the other.
        let dealt = (0..self.partitions).flat_map(|partition| {
            let of_it = move |it: &&Segment| it.partition == partition;
            self.segments.iter().filter(of_it).map(move |_| partition)
        });
        let own: Vec<u16> =
            dealt.zip((0..self.alive.len()).cycle()).filter(|(_, to)| *to == rank).map(|it| it.0).collect();
        let share = own.len();
        assert_eq!((usize::from(answer.share), answer.gaps.len()), (share, 0));

        let mut expected = Vec::new();
        for segment in &mut self.segments {
            let own = segment.held.as_mut().filter(|it| !it.given_back && it.lease.token == request.token);
            if let Some(held) = own {
                held.until = until;
                expected.push(held.lease.clone());
            }
        }
        let mut surplus = Vec::new();
        for partition in 0..self.partitions {
            let of_it = |segment: u16| segment % self.partitions == partition;
            let share = own.iter().filter(|it| **it == partition).count();
            let segments = self.segments.iter().filter(|segment| segment.partition == partition);
            let free = segments.filter(|segment| segment.is_free(now)).count();
            let mut held: Vec<u16> =
                expected.iter().map(|lease: &Lease| lease.segment).filter(|it| of_it(*it)).collect();
            let taken = answer.taken.iter().filter(|(lease, _)| of_it(lease.segment)).count();
            let wanted = share.saturating_sub(held.len()).min(free);
            assert_eq!(taken, wanted, "{free} were free, {} held, {share} fair in {partition}", held.len());
            held.sort_unstable();
            surplus.extend(held.into_iter().skip(share));
        }
        surplus.sort_unstable();
        let mut told = answer.surplus.clone();
        told.sort_unstable();
        assert_eq!(told, surplus);
        for (lease, state) in &answer.taken {
            let segment = &mut self.segments[usize::from(lease.segment)];
            assert!(segment.is_free(now), "{lease:?} is held: {segment:?}");
            assert!(lease.epoch > segment.top_epoch, "{lease:?} after {}", segment.top_epoch);
            assert_eq!((&lease.group, lease.token), (&request.group, request.token));
            let mut state = state.clone();
            state.blocked.sort_by(|one, other| one.key.cmp(&other.key));
            assert_eq!(state, segment.state());
            segment.top_epoch = lease.epoch;
            let consumer = request.consumer.clone();
            segment.held = Some(Held { lease: lease.clone(), consumer, until, given_back: false });
            expected.push(lease.clone());
        }
        let mut held = answer.held.clone();
        held.sort_by_key(|lease| lease.segment);
        expected.sort_by_key(|lease| lease.segment);
        assert_eq!(held, expected);
    }

    pub(super) fn leave(&mut self, consumer: &str) {
        self.alive.remove(consumer);
        for held in self.segments.iter_mut().filter_map(|segment| segment.held.as_mut()) {
            held.given_back |= held.consumer == consumer;
        }
    }

    pub(super) fn reset(&mut self, marks: &[u64]) {
        for segment in &mut self.segments {
            let mark = marks[usize::from(segment.partition)];
            (segment.cursor, segment.claimed_to, segment.held) = (mark, mark, None);
            segment.rows.clear();
        }
    }
}

impl Oracle {
    /// Creates a group, or updates the types of an existing group. Returns false if the key or the segments differ.
    pub(super) fn create(&mut self, spec: &GroupSpec, marks: &[u64], now: Timestamp) -> bool {
        let partitions = marks.len() as u16;
        let Some(group) = self.groups.get_mut(&spec.name) else {
            let begun = |at: u16| Segment::begun(at % partitions, marks[usize::from(at % partitions)]);
            let segments = (0..spec.segments).map(begun).collect();
            let (spec, alive) = (spec.clone(), BTreeMap::new());
            let name = spec.name.clone();
            let group = Group { spec, created_at: now, last_seen_at: now, segments, partitions, alive };
            self.groups.insert(name, group);
            return true;
        };
        let same = (&group.spec.key, group.spec.segments) == (&spec.key, spec.segments);
        if same {
            group.spec.types.clone_from(&spec.types);
        }
        same
    }

    pub(super) fn segment_mut(&mut self, group: &str, segment: u16) -> Option<&mut Segment> {
        self.groups.get_mut(group)?.segments.get_mut(usize::from(segment))
    }

    pub(super) fn enqueue(&mut self, new: &NewLaneBatch) -> EnqueueOutcome {
        let Some(segment) = self.segment_mut(&new.group, new.segment) else { return EnqueueOutcome::NoGroup };
        if let LaneOrigin::Replay { replay_id, batch } = &new.origin
            && !segment.had.insert((replay_id.clone(), *batch))
        {
            return EnqueueOutcome::AlreadyQueued;
        }
        segment.push(new.segment, new.origin.clone(), new.positions.clone());
        EnqueueOutcome::Queued
    }

    /// Returns the batches of replays that a segment has ever had.
    pub(super) fn had(&self, group: &str, segment: u16) -> Vec<(String, u64)> {
        let group = self.groups.get(group);
        let segment = group.and_then(|group| group.segments.get(usize::from(segment)));
        segment.map(|segment| segment.had.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn withdraw(&mut self, replay: &str) -> u64 {
        let mut gone = 0;
        for segment in self.groups.values_mut().flat_map(|group| &mut group.segments) {
            segment.lane.retain(|batch| {
                let of_it =
                    matches!(&batch.origin, LaneOrigin::Replay { replay_id, .. } if replay_id == replay);
                let goes = of_it && batch.progress.claimed_to == 0;
                if goes {
                    gone += batch.positions.len() as u64;
                    segment.withdrawn.push(batch.seq);
                }
                !goes
            });
        }
        gone
    }
}
