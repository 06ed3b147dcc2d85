//! The replay lane: a segment's second way in, which carries references to positions, never payloads.
//!
//! A batch of references goes into a segment's lane whole, keeps its progress beside it, and leaves it with its result.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::dead_letter::Failure;

/// Where a batch of references comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum LaneOrigin {
    /// A replay. Results are kept for its runner under this number.
    #[serde(rename_all = "camelCase")]
    Replay {
        /// The replay.
        replay_id: String,
        /// The number of the replay's batch, from 0. A segment gets a batch of a replay once.
        batch: u64,
    },
    /// A dead letter that is to be tried again: one reference.
    #[serde(rename_all = "camelCase")]
    Redrive {
        /// The dead letter.
        dead_letter: String,
    },
    /// A dead letter whose key was parked behind it was discarded: the key goes on. One reference, its position.
    #[serde(rename_all = "camelCase")]
    Discarded {
        /// The dead letter.
        dead_letter: String,
    },
}

/// References on their way into a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLaneBatch {
    /// The group.
    pub group: String,
    /// The segment that the events' keys fall to.
    pub segment: u16,
    /// Where they come from.
    pub origin: LaneOrigin,
    /// Sequences in the segment's partition, rising.
    pub positions: Vec<u64>,
}

/// References in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneBatch {
    /// Its place in the segment's lane, from 1, rising.
    pub seq: u64,
    /// The segment.
    pub segment: u16,
    /// Where they come from.
    pub origin: LaneOrigin,
    /// Sequences in the segment's partition.
    pub positions: Vec<u64>,
    /// How far it is.
    pub progress: LaneProgress,
}

/// How far a batch of references is. Stores keep its text; they need not look inside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LaneProgress {
    /// References before this one may have been handed over.
    pub claimed_to: u32,
    /// References that are done: handled, skipped or given up on.
    pub done: BitSet,
    /// References that were tried and are to be tried again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<LaneRetry>,
    /// References that were given up on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<LaneFailure>,
    /// References that were declined.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<u32>,
}

/// A reference that is to be tried again, or that was claimed when a consumer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneRetry {
    /// Which reference of the batch.
    pub index: u32,
    /// How often it has been tried.
    pub attempts: u32,
    /// How often a consumer ended, without giving its segment back, while it was claimed.
    #[serde(default)]
    pub ends: u32,
    /// When it may be tried next.
    pub due: Timestamp,
    /// What the last attempt said.
    pub error: String,
    /// What each attempt said, as [`crate::dead_letter::note_failure`] keeps it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<Failure>,
}

/// The error of a reference whose event was erased or trimmed before it could be handed over.
pub const REMOVED: &str = "the event was removed before it could be handed over";

/// A reference that was given up on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneFailure {
    /// Which reference of the batch.
    pub index: u32,
    /// Why.
    pub error: String,
}

/// What became of a batch of a replay in one segment of one group. Handled, failed and skipped add up to its references.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaneResult {
    /// The number of the replay's batch.
    pub batch: u64,
    /// The group.
    pub group: String,
    /// The segment.
    pub segment: u16,
    /// How many were handled.
    pub handled: u64,
    /// Which were given up on, and why.
    pub failed: Vec<(u64, String)>,
    /// Which were declined.
    pub skipped: Vec<u64>,
}

impl LaneBatch {
    /// What became of it, once every reference is done and if a replay sent it.
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

/// A set of small numbers. Written as hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BitSet(Vec<u8>);

impl BitSet {
    /// Whether a number is in it.
    pub fn contains(&self, index: u32) -> bool {
        self.0.get(index as usize / 8).is_some_and(|byte| byte & (1 << (index % 8)) != 0)
    }

    /// Puts a number in; whether it was not there.
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

    /// How many numbers are in it.
    pub fn len(&self) -> usize {
        self.0.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Serialize for BitSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        serializer.serialize_str(&text)
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
