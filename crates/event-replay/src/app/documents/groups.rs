//! Consumer groups.

use domain::{
    Position, TypePattern,
    group::{BlockedKey, ConsumerStatus, Gap, GroupPause, Pending, SegmentStatus},
};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    app::groups::{GroupCreated, GroupMoved, GroupPosition, HoldState, positions},
    text::name::group_key_text,
};

/// A group in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRow<'a> {
    /// Its name.
    pub name: &'a str,
    /// The types it takes; none: all.
    pub types: Vec<&'a str>,
    /// Consumers that are alive.
    pub consumers: usize,
    /// The events that it has still to handle.
    #[serde(flatten)]
    pub pending: Pending,
    /// Events in the log after its slowest segment, of any type.
    pub lag: u64,
    /// Keys that wait to be tried again.
    pub blocked: u64,
    /// Blocked keys that wait behind a dead letter.
    pub parked: u64,
    /// Replayed events that wait.
    pub lane: u64,
    /// Stretches that retention removed before the group had passed them.
    pub gaps: usize,
    /// When a consumer was last seen.
    pub last_seen_at: Timestamp,
    /// The pauses that are in effect.
    pub pauses: &'a [GroupPause],
}

/// The rows of a list.
pub fn group_rows(groups: &[GroupPosition]) -> Vec<GroupRow<'_>> {
    groups.iter().map(GroupRow::of).collect()
}

impl<'a> GroupRow<'a> {
    fn of(group: &'a GroupPosition) -> Self {
        let record = &group.status.record;
        Self {
            name: &record.spec.name,
            types: names(&record.spec.types),
            consumers: group.status.consumers.len(),
            pending: group.pending,
            lag: group.lag,
            blocked: group.status.blocked_keys(),
            parked: group.parked(),
            lane: group.lane(),
            gaps: record.gaps.len(),
            last_seen_at: record.last_seen_at,
            pauses: &group.pauses,
        }
    }
}

fn names(types: &[TypePattern]) -> Vec<&str> {
    types.iter().map(TypePattern::as_str).collect()
}

/// A group, whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupDocument<'a> {
    /// Its name.
    pub name: &'a str,
    /// The types it takes; none: all.
    pub types: Vec<&'a str>,
    /// The key of its order.
    pub key: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a consumer was last seen.
    pub last_seen_at: Timestamp,
    /// The events that it has still to handle.
    #[serde(flatten)]
    pub pending: Pending,
    /// Events in the log after its slowest segment, of any type.
    pub lag: u64,
    /// When the oldest of these was stored.
    pub waiting_since: Option<Timestamp>,
    /// Whether it keeps what it has not passed from retention.
    pub holds: bool,
    /// Until when, should no consumer come before.
    pub holds_until: Option<Timestamp>,
    /// Its segments.
    pub segments: &'a [SegmentStatus],
    /// Its consumers that are alive.
    pub consumers: &'a [ConsumerStatus],
    /// Keys that wait to be tried again.
    pub blocked: u64,
    /// The first of them.
    pub blocked_keys: Vec<BlockedKeyDocument>,
    /// Events that retention removed before the group had passed them.
    pub gaps: &'a [Gap],
    /// The pauses that are in effect.
    pub pauses: &'a [GroupPause],
}

/// A group that was paused.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupPausedDocument<'a> {
    /// Its name.
    pub name: &'a str,
    /// The pause.
    pub pause: &'a GroupPause,
}

/// A group that was resumed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupResumedDocument<'a> {
    /// Its name.
    pub name: &'a str,
    /// The pauses that were ended.
    pub pauses: u64,
}

impl GroupDocument<'_> {
    /// The most blocked keys that a document names.
    pub const MAX_BLOCKED_KEYS: usize = 20;
}

impl<'a> GroupDocument<'a> {
    /// The document of a group, with the first of its blocked keys and their segments.
    pub fn of(found: &'a GroupPosition, blocked_keys: Vec<(u16, BlockedKey)>) -> Self {
        let record = &found.status.record;
        let holds_until = match found.hold {
            HoldState::Until(until) => Some(until),
            HoldState::ForgottenSince(_) => None,
        };
        let keys = blocked_keys.into_iter();
        Self {
            name: &record.spec.name,
            types: names(&record.spec.types),
            key: group_key_text(&record.spec.key),
            created_at: record.created_at,
            last_seen_at: record.last_seen_at,
            pending: found.pending,
            lag: found.lag,
            waiting_since: found.waiting_since,
            holds: holds_until.is_some(),
            holds_until,
            segments: &found.status.segments,
            consumers: &found.status.consumers,
            blocked: found.status.blocked_keys(),
            blocked_keys: keys.map(|(segment, row)| BlockedKeyDocument::of(found, segment, row)).collect(),
            gaps: &record.gaps,
            pauses: &found.pauses,
        }
    }
}

/// A key that waits.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockedKeyDocument {
    /// Its segment.
    pub segment: u16,
    /// The key.
    pub key: String,
    /// The event that it waits for.
    pub position: Position,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is tried again; none where it is parked.
    pub due: Option<Timestamp>,
    /// Whether it waits behind a dead letter.
    pub parked: bool,
    /// The error of the last attempt.
    pub error: String,
    /// Since when it waits.
    pub since: Timestamp,
}

impl BlockedKeyDocument {
    fn of(found: &GroupPosition, segment: u16, row: BlockedKey) -> Self {
        let of = found.status.segments.iter().find(|status| status.segment == segment);
        let partition = of.map_or(0, |status| status.partition);
        Self {
            segment,
            key: row.key.to_string(),
            position: Position::new(partition, row.position),
            attempts: row.attempts,
            due: row.due,
            parked: row.due.is_none(),
            error: row.error,
            since: row.since,
        }
    }
}

/// A group that was made, or that was there.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupCreatedDocument<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is new.
    pub created: bool,
    /// The types it takes; none: all.
    pub types: Vec<&'a str>,
    /// The key of its order.
    pub key: String,
    /// Into how many parts its keys are spread.
    pub segments: u16,
    /// Its place: the position of each partition.
    pub at: &'a [String],
}

impl<'a> GroupCreatedDocument<'a> {
    /// The document of what [`crate::app::groups::create`] did.
    pub fn of(created: &'a GroupCreated) -> Self {
        let spec = &created.record.spec;
        Self {
            name: &spec.name,
            created: created.created,
            types: names(&spec.types),
            key: group_key_text(&spec.key),
            segments: spec.segments,
            at: &created.at,
        }
    }
}

/// A group that was moved, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupMovedDocument<'a> {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The group.
    pub name: &'a str,
    /// Its place before.
    pub from: Vec<String>,
    /// Its place now.
    pub to: Vec<String>,
    /// Keys that were blocked and are released.
    pub released: u64,
    /// Events in the log after the new place.
    pub lag: u64,
}

impl<'a> GroupMovedDocument<'a> {
    /// The document of what [`crate::app::groups::reset`] did.
    pub fn of(name: &'a str, moved: &GroupMoved, dry_run: bool) -> Self {
        Self {
            dry_run,
            name,
            from: positions(&moved.from),
            to: positions(&moved.to),
            released: moved.released,
            lag: moved.lag,
        }
    }
}
