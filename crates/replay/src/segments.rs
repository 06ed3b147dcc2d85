//! The segments of a plan. With them a run checks whether the log still has the planned events.

use domain::{Cursor, Position, StoredEvent};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    plan::PlanSegment,
    report::{PlanGap, ReplayReport},
};

/// The number of matches in a segment.
pub(crate) const SEGMENT_EVENTS: u64 = 10_000;

/// Collects a segment.
pub(crate) struct SegmentBuilder {
    ids: Sha256,
    count: u64,
    reached: Cursor,
}

impl SegmentBuilder {
    /// Starts the first segment. Its cursor is the start of the plan, with the store and the epoch of the plan's mark.
    pub(crate) fn new(after: Option<&Cursor>, mark: &Cursor) -> Self {
        let partitions = mark.sequences.len() as u16;
        let sequences = (0..partitions).map(|at| after.map_or(0, |after| after.sequence(at))).collect();
        Self { ids: Sha256::new(), count: 0, reached: Cursor::new(mark.store, mark.epoch, sequences) }
    }

    pub(crate) fn add(&mut self, stored: &StoredEvent) {
        add_id(&mut self.ids, stored.event.id());
        self.count += 1;
        let partition = usize::from(stored.position.partition);
        if let Some(reached) = self.reached.sequences.get_mut(partition) {
            *reached = stored.position.sequence;
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.count >= SEGMENT_EVENTS
    }

    /// Returns the segment, unless it is empty, and starts the next one.
    pub(crate) fn take(&mut self) -> Option<PlanSegment> {
        let count = std::mem::take(&mut self.count);
        let hash = domain::hex(&std::mem::take(&mut self.ids).finalize());
        (count > 0).then(|| PlanSegment { count, hash, cursor: self.reached.clone() })
    }
}

/// The place of a comparison: the index of the segment, and the number of its events that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Checked {
    pub(crate) segment: usize,
    pub(crate) count: u64,
}

/// Compares the events that a run has sent with the plan's segments.
pub(crate) struct SegmentChecker<'a> {
    segments: &'a [PlanSegment],
    at: usize,
    /// None when the ids of the segment's first events are unknown. Then only the number of events is compared.
    ids: Option<Sha256>,
    count: u64,
}

impl<'a> SegmentChecker<'a> {
    pub(crate) fn new(segments: &'a [PlanSegment]) -> Self {
        Self { segments, at: 0, ids: Some(Sha256::new()), count: 0 }
    }

    /// Continues a comparison of another run. `ids` are the ids of the segment's sent events that the log still has. If
    /// their number equals the number sent, they are the same events, because no event is added before a mark.
    pub(crate) fn resume<'i>(
        segments: &'a [PlanSegment],
        checked: Checked,
        ids: impl ExactSizeIterator<Item = &'i str>,
    ) -> Self {
        let known = (ids.len() as u64 == checked.count).then(|| {
            let mut hash = Sha256::new();
            ids.for_each(|id| add_id(&mut hash, id));
            hash
        });
        Self { segments, at: checked.segment, ids: known, count: checked.count }
    }

    pub(crate) fn checked(&self) -> Checked {
        Checked { segment: self.at, count: self.count }
    }

    /// Records a sent event. Events must come in the order of the plan.
    pub(crate) fn sent(&mut self, position: Position, id: &str, report: &mut ReplayReport) {
        while self.segments.get(self.at).is_some_and(|segment| !segment.cursor.covers(position)) {
            self.close(report);
        }
        if let Some(ids) = &mut self.ids {
            add_id(ids, id);
        }
        self.count += 1;
    }

    /// Records sent events with unknown ids. For this segment only the number of events is then compared.
    pub(crate) fn sent_unknown(&mut self, events: u64) {
        if events > 0 {
            self.ids = None;
            self.count += events;
        }
    }

    /// Finishes the comparison after the last event.
    pub(crate) fn finish(mut self, report: &mut ReplayReport) {
        while self.at < self.segments.len() {
            self.close(report);
        }
    }

    fn close(&mut self, report: &mut ReplayReport) {
        let count = std::mem::take(&mut self.count);
        let hash = self.ids.replace(Sha256::new()).map(|ids| domain::hex(&ids.finalize()));
        if let Some(planned) = self.segments.get(self.at)
            && (planned.count != count || hash.is_some_and(|hash| hash != planned.hash))
        {
            let missing = planned.count.saturating_sub(count);
            report.add_gap(PlanGap { segment: self.at, through: planned.cursor.clone(), missing });
        }
        self.at += 1;
    }
}

/// Ids have any length and content, so the length precedes each id.
fn add_id(ids: &mut Sha256, id: &str) {
    ids.update((id.len() as u64).to_le_bytes());
    ids.update(id);
}
