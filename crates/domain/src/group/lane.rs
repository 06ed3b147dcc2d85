//! The replay lane: the queue of a segment with references to events to deliver again. It holds positions, never
//! payloads.
//!
//! A batch of references enters the lane of a segment as a whole. The store keeps the progress of the batch beside
//! it. The batch leaves the lane with its result.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dead_letter::Failure;

/// Origin of a batch of references.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum LaneOrigin {
    /// A replay. The store keeps the results for the runner under the batch number.
    #[serde(rename_all = "camelCase")]
    Replay {
        /// Id of the replay.
        replay_id: String,
        /// Number of the batch in the replay, from 0. A segment takes a batch of a replay once.
        batch: u64,
    },
    /// A redrive of a dead letter: one reference.
    #[serde(rename_all = "camelCase")]
    Redrive {
        /// Id of the dead letter.
        dead_letter: String,
    },
    /// A discarded dead letter behind which its key was parked. The batch releases the key. It has one reference, the
    /// position of the dead letter.
    #[serde(rename_all = "camelCase")]
    Discarded {
        /// Id of the dead letter.
        dead_letter: String,
    },
}

/// A batch of references that is to enter a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLaneBatch {
    /// Name of the group.
    pub group: String,
    /// Segment of the events' keys.
    pub segment: u16,
    /// Origin of the references.
    pub origin: LaneOrigin,
    /// Sequences in the segment's partition, rising.
    pub positions: Vec<u64>,
}

/// A batch of references in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneBatch {
    /// Place of the batch in the segment's lane, from 1, rising.
    pub seq: u64,
    /// Number of the segment.
    pub segment: u16,
    /// Origin of the references.
    pub origin: LaneOrigin,
    /// Sequences in the segment's partition.
    pub positions: Vec<u64>,
    /// Progress of the batch.
    pub progress: LaneProgress,
}

/// Progress of a batch of references. A store keeps its text and need not parse it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LaneProgress {
    /// Claim: references before this index may be in flight.
    pub claimed_to: u32,
    /// References that are done: handled, skipped or given up on.
    pub done: BitSet,
    /// References that wait for a retry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<LaneRetry>,
    /// References that the group gave up on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<LaneFailure>,
    /// References that were skipped, because the group or its handlers do not take them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<u32>,
}

/// A reference that waits for a retry, or that was claimed when a consumer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneRetry {
    /// Index of the reference in the batch.
    pub index: u32,
    /// Number of attempts of the reference.
    pub attempts: u32,
    /// Number of consumers that ended, without release of the segment, while the reference was claimed.
    #[serde(default)]
    pub ends: u32,
    /// Earliest time of the next attempt.
    pub due: Timestamp,
    /// Error message of the last attempt.
    pub error: String,
    /// Failures of the attempts, as [`crate::dead_letter::note_failure`] keeps them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// Error of a reference whose event was erased or trimmed before its delivery.
pub const REMOVED: &str = "the event was removed before it could be handed over";

/// A reference that the group gave up on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneFailure {
    /// Index of the reference in the batch.
    pub index: u32,
    /// Error message of the failure.
    pub error: String,
}

/// Result of a batch of a replay in one segment of one group. The numbers of handled, failed and skipped references
/// add up to the size of the batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneResult {
    /// Number of the batch in the replay.
    pub batch: u64,
    /// Name of the group.
    pub group: String,
    /// Number of the segment.
    pub segment: u16,
    /// Number of handled references.
    pub handled: u64,
    /// Sequences on which the group gave up, each with the error.
    pub failed: Vec<(u64, String)>,
    /// Sequences that were skipped, because the group or its handlers do not take them.
    pub skipped: Vec<u64>,
}

impl LaneBatch {
    /// Returns the result of a batch whose references are all done, or none if no replay sent the batch.
    pub fn result(&self, group: &str) -> Option<LaneResult> {
        let LaneOrigin::Replay { batch, .. } = &self.origin else { return None };
        let position = |index: &u32| self.positions.get(*index as usize).copied();
        let failed: Vec<(u64, String)> = self
            .progress
            .failed
            .iter()
            .filter_map(|failure| Some((position(&failure.index)?, failure.error.clone())))
            .collect();
        let skipped: Vec<u64> = self.progress.skipped.iter().filter_map(position).collect();
        let handled = (self.positions.len() - failed.len() - skipped.len()) as u64;
        Some(LaneResult {
            batch: *batch,
            group: group.to_owned(),
            segment: self.segment,
            handled,
            failed,
            skipped,
        })
    }
}

/// A set of small numbers. It is written as hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BitSet(Vec<u8>);

impl BitSet {
    /// Returns whether the set has a number.
    pub fn contains(&self, index: u32) -> bool {
        self.0.get(index as usize / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// Adds a number. Returns whether the set did not have it before.
    pub fn insert(&mut self, index: u32) -> bool {
        let at = index as usize / 8;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        let fresh = !self.contains(index);
        if let Some(byte) = self.0.get_mut(at) {
            *byte |= 1 << (index % 8);
        }
        fresh
    }

    /// Returns the number of elements.
    pub fn len(&self) -> usize {
        self.0.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Returns whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Serialize for BitSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for BitSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).map_err(serde::de::Error::custom)?;
            u8::from_str_radix(pair, 16).map_err(serde::de::Error::custom)
        };
        text.as_bytes().chunks(2).map(byte).collect::<Result<_, D::Error>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_set_keeps_what_it_is_given_and_comes_back() {
        let mut set = BitSet::default();
        for index in [0, 7, 8, 63, 200] {
            assert!(set.insert(index) && !set.insert(index));
        }
        let text = serde_json::to_string(&set).unwrap();
        let again: BitSet = serde_json::from_str(&text).unwrap();
        assert_eq!(again, set);
        assert_eq!(
            (again.len(), again.contains(200), again.contains(199), again.contains(9999)),
            (5, true, false, false)
        );
    }

    #[test]
    fn a_result_adds_up() {
        let failed = vec![LaneFailure { index: 1, error: "no".to_owned() }];
        let progress = LaneProgress { failed, skipped: vec![2], ..LaneProgress::default() };
        let origin = LaneOrigin::Replay { replay_id: "r".to_owned(), batch: 3 };
        let batch = LaneBatch { seq: 1, segment: 5, origin, positions: vec![10, 20, 30, 40], progress };
        let result = batch.result("g").unwrap();
        assert_eq!(
            (result.handled, result.failed, result.skipped),
            (2, vec![(20, "no".to_owned())], vec![30])
        );
    }
}
