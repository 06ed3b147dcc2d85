//! The report of a comparison. Its size does not grow with the number of events.

use std::collections::BTreeMap;

use domain::StoredEvent;
use serde::{Serialize, Serializer};

use crate::{
    app::{differences::Difference, json_tree::JsonTree},
    text::escape,
};

/// The largest number of differences of one event in the report.
const MOST_OF_EVENT: usize = 20;
/// The largest number of pointers with a count.
const MOST_POINTERS: usize = 100;
/// The count of all other pointers.
const OTHER: &str = "(other)";
/// The longest value in the report, in bytes of JSON. A longer value becomes a text that is cut.
const LONGEST_VALUE: usize = 1_000;
/// The pointer of a missing answer.
const ERROR: &str = "/error";

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// The number of events that were sent to both targets.
    pub compared: u64,
    /// The number of events with equal answers.
    pub equal: u64,
    /// The number of events with different or missing answers.
    pub different: u64,
    /// The number of events that each target answered with a failure. Two equal failures are equal answers.
    pub failed: PerTarget,
    /// The number of events that each target did not answer completely and in time.
    pub unanswered: PerTarget,
    /// The number of different events by the pointer of the difference. At most 100 pointers have a count, the others
    /// are `(other)`.
    pub by_pointer: BTreeMap<String, u64>,
    /// The first different events.
    pub differences: Vec<EventDifferences>,
    /// Whether there are more different events.
    pub differences_truncated: bool,
    /// The number of unreadable events. They are not compared.
    pub corrupt: u64,
    /// The reason for the end.
    pub ended: ComparisonEnd,
}

/// A number of events for each target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PerTarget {
    /// Events of the old target.
    pub old: u64,
    /// Events of the new target.
    pub new: u64,
}

impl PerTarget {
    fn add(&mut self, [old, new]: [bool; 2]) {
        self.old += u64::from(old);
        self.new += u64::from(new);
    }
}

/// The differences of the answers to one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventDifferences {
    /// The id of the event.
    pub event_id: String,
    /// The event type.
    pub event_type: String,
    /// The position in the log.
    pub position: String,
    /// The first 20 differences. A value of more than 1,000 bytes is a text that is cut.
    pub differences: Vec<Difference>,
    /// The number of all differences.
    pub total_differences: u64,
}

/// The reason for the end of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComparisonEnd {
    /// Every selected event was compared.
    Completed,
    /// The operator ended it.
    Interrupted,
    /// The old target could not be reached.
    OldUnreachable(String),
    /// The new target could not be reached.
    NewUnreachable(String),
}

impl Serialize for ComparisonEnd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Completed => "completed",
            Self::Interrupted => "interrupted",
            Self::OldUnreachable(_) => "oldUnreachable",
            Self::NewUnreachable(_) => "newUnreachable",
        })
    }
}

/// The comparison of the answers to one event.
pub(super) struct Found {
    differences: Vec<Difference>,
    is_failed: [bool; 2],
    is_unanswered: [bool; 2],
}

impl Found {
    /// Returns the result of two answers.
    pub(super) fn answered(differences: Vec<Difference>, is_failed: [bool; 2]) -> Self {
        Self { differences, is_failed, is_unanswered: [false, false] }
    }

    /// Returns the result of missing answers. Two missing answers are different, because nothing shows that the targets
    /// agree.
    pub(super) fn unanswered(old: Option<String>, new: Option<String>) -> Self {
        let is_unanswered = [old.is_some(), new.is_some()];
        let [old, new] = [old, new].map(|error| error.map(|error| JsonTree::scalar(&error)));
        let difference = Difference { pointer: ERROR.to_owned(), old, new };
        Self { differences: vec![difference], is_failed: [false, false], is_unanswered }
    }
}

/// A report in the making.
pub(super) struct Report {
    comparison: Comparison,
    most_listed: usize,
}

impl Report {
    pub(super) fn new(most_listed: usize) -> Self {
        let comparison = Comparison {
            compared: 0,
            equal: 0,
            different: 0,
            failed: PerTarget::default(),
            unanswered: PerTarget::default(),
            by_pointer: BTreeMap::new(),
            differences: Vec::new(),
            differences_truncated: false,
            corrupt: 0,
            ended: ComparisonEnd::Completed,
        };
        Self { comparison, most_listed }
    }

    pub(super) fn compared(&self) -> u64 {
        self.comparison.compared
    }

    pub(super) fn record(&mut self, stored: &StoredEvent, found: Found) {
        let Found { mut differences, is_failed, is_unanswered } = found;
        let report = &mut self.comparison;
        report.compared += 1;
        report.failed.add(is_failed);
        report.unanswered.add(is_unanswered);
        if differences.is_empty() {
            report.equal += 1;
            return;
        }
        report.different += 1;
        for difference in &differences {
            count(&mut report.by_pointer, &difference.pointer);
        }
        if report.differences.len() >= self.most_listed {
            report.differences_truncated = true;
            return;
        }
        let total_differences = differences.len() as u64;
        differences.truncate(MOST_OF_EVENT);
        report.differences.push(EventDifferences {
            event_id: stored.event.id().to_owned(),
            event_type: stored.event.event_type().to_owned(),
            position: stored.position.to_string(),
            differences: differences.into_iter().map(bounded).collect(),
            total_differences,
        });
    }

    pub(super) fn end(self, ended: ComparisonEnd, corrupt: u64) -> Comparison {
        Comparison { ended, corrupt, ..self.comparison }
    }
}

fn count(counts: &mut BTreeMap<String, u64>, pointer: &str) {
    let is_full = counts.len() >= MOST_POINTERS && !counts.contains_key(pointer);
    *counts.entry(if is_full { OTHER } else { pointer }.to_owned()).or_default() += 1;
}

fn bounded(difference: Difference) -> Difference {
    let Difference { pointer, old, new } = difference;
    Difference { pointer, old: old.map(cut), new: new.map(cut) }
}

fn cut(value: JsonTree) -> JsonTree {
    match serde_json::to_string(&value) {
        Ok(json) if json.len() > LONGEST_VALUE => JsonTree::scalar(&escape::short(&json, LONGEST_VALUE)),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use domain::{Document, Limits, Position};

    use super::*;

    fn stored() -> StoredEvent {
        let json = r#"{"id":"e1","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{}}"#;
        StoredEvent {
            event: Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap(),
            position: Position::new(0, 1),
            stored_at: "2024-01-15T10:31:00Z".parse().unwrap(),
            replay_count: 0,
            last_replay_at: None,
        }
    }

    #[test]
    fn a_report_does_not_grow_with_answers() {
        let mut report = Report::new(2);
        for round in 0..50 {
            let long = Some(JsonTree::scalar(&"x".repeat(100_000)));
            let differences = (0..30)
                .map(|n| Difference { pointer: format!("/body/{round}/{n}"), old: long.clone(), new: None })
                .collect();
            report.record(&stored(), Found::answered(differences, [false, false]));
        }
        report.record(&stored(), Found::answered(Vec::new(), [false, false]));
        let report = report.end(ComparisonEnd::Completed, 0);
        assert_eq!((report.compared, report.equal, report.different), (51, 1, 50));
        assert_eq!((report.differences.len(), report.differences_truncated), (2, true));
        assert_eq!(report.differences[0].total_differences, 30);
        assert_eq!(report.by_pointer.len(), 101);
        assert_eq!(report.by_pointer[OTHER], 1_400);
        assert!(serde_json::to_string(&report).unwrap().len() < 60_000);
    }
}
