//! Reads the replay lanes.

use std::{sync::Arc, time::Duration};

use domain::{
    group::{LaneBatch, MAX_LANE_REFERENCES},
    ports::GroupStoreError,
};
use tokio::time::Instant;

use super::{Actor, Io, outage::Call};
use crate::consumer::segment::Segment;

/// The number of references in a segment's lane below which more are fetched. The read then includes all segments with
/// fewer than twice this number. Batches of a replay that segments fetch together are one stretch of the log.
const LANE_BELOW: usize = 128;
/// The highest number of references in one read of the lanes.
const LANE_PAGE: usize = 1024;
/// The pause after a read of the lanes without a result, and after a read with a result.
const LANE_IDLE: Duration = Duration::from_millis(100);
const LANE_BUSY: Duration = Duration::from_millis(10);

impl Actor {
    pub(super) fn look(&mut self, now: Instant) {
        if self.looking || self.look_again > now {
            return;
        }
        let has_less = |segment: &&Segment, references: usize| {
            !segment.leaving
                && segment.lane().free_references() < references
                && segment.lane().references() < MAX_LANE_REFERENCES
        };
        let is_due = self.segments.values().any(|segment| has_less(&segment, LANE_BELOW));
        let wants_more = |segment: &&Segment| is_due && has_less(segment, 2 * LANE_BELOW);
        let after: Vec<(u16, u64)> = self
            .segments
            .values()
            .filter(wants_more)
            .map(|segment| (segment.lease.segment, segment.lane_after()))
            .collect();
        if after.is_empty() {
            self.look_again = now + LANE_BUSY;
            return;
        }
        self.looking = true;
        let (store, group) = (Arc::clone(&self.shared.store), self.rules.spec.name.clone());
        self.io.spawn(async move { Io::Lane(store.lane(&group, &after, LANE_PAGE).await) });
    }

    pub(super) fn looked(&mut self, batches: Result<Vec<LaneBatch>, GroupStoreError>) {
        self.looking = false;
        match batches {
            Ok(batches) => {
                self.answered_by_store(Call::Lane);
                self.look_again = Instant::now() + if batches.is_empty() { LANE_IDLE } else { LANE_BUSY };
                for batch in batches {
                    self.with(batch.segment, |segment, at| segment.take_in(batch, &mut at.effects));
                }
            }
            Err(error) => {
                let pause = self.fault(Call::Lane, &error);
                self.look_again = Instant::now() + pause;
            }
        }
    }
}
