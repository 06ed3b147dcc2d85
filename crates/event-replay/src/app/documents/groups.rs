//! Documents of consumer groups.

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
    /// The name.
    pub name: &'a str,
    /// The event types. Empty: all.
    pub types: Vec<&'a str>,
    /// The number of live consumers.
    pub consumers: usize,
    /// The pending events.
    #[serde(flatten)]
    pub pending: Pending,
    /// The lag: events of any type in the log after the slowest segment.
    pub lag: u64,
    /// The number of blocked keys, including parked keys.
    pub blocked: u64,
    /// The number of parked keys.
    pub parked: u64,
    /// The number of pending replayed events.
    pub lane: u64,
    /// The number of gaps: ranges that retention removed before the group had passed them.
    pub gaps: usize,
    /// The time at which a consumer was last active.
    pub last_seen_at: Timestamp,
    /// The pauses in effect.
    pub pauses: &'a [GroupPause],
}

/// Returns the rows of a list.
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

/// A group with all its details.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupDocument<'a> {
    /// The name.
    pub name: &'a str,
    /// The event types. Empty: all.
    pub types: Vec<&'a str>,
    /// The ordering key.
    pub key: String,
    /// The time of creation.
    pub created_at: Timestamp,
    /// The time at which a consumer was last active.
    pub last_seen_at: Timestamp,
    /// The pending events.
    #[serde(flatten)]
    pub pending: Pending,
    /// The lag: events of any type in the log after the slowest segment.
    pub lag: u64,
    /// The stored time of the oldest of these events.
    pub waiting_since: Option<Timestamp>,
    /// Whether the group holds back retention.
    pub holds: bool,
    /// The time at which the hold ends without a consumer.
    pub holds_until: Option<Timestamp>,
    /// The segments.
    pub segments: &'a [SegmentStatus],
    /// The live consumers.
    pub consumers: &'a [ConsumerStatus],
    /// The number of blocked keys, including parked keys.
    pub blocked: u64,
    /// The first blocked keys.
    pub blocked_keys: Vec<BlockedKeyDocument>,
    /// The ranges that retention removed before the group had passed them.
    pub gaps: &'a [Gap],
    /// The pauses in effect.
    pub pauses: &'a [GroupPause],
}

/// A paused group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupPausedDocument<'a> {
    /// The name.
    pub name: &'a str,
    /// The pause.
    pub pause: &'a GroupPause,
}

/// A resumed group.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupResumedDocument<'a> {
    /// The name.
    pub name: &'a str,
    /// The number of ended pauses.
    pub pauses: u64,
}

impl GroupDocument<'_> {
    /// The largest number of blocked keys in a document.
    pub const MAX_BLOCKED_KEYS: usize = 20;
}

impl<'a> GroupDocument<'a> {
    /// Makes the document of a group, with its first blocked keys and their segments.
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

/// A blocked or parked key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BlockedKeyDocument {
    /// The segment.
    pub segment: u16,
    /// The key.
    pub key: String,
    /// The position of the event that the key waits for.
    pub position: Position,
    /// The number of attempts so far.
    pub attempts: u32,
    /// The time of the next attempt. `None` if the key is parked.
    pub due: Option<Timestamp>,
    /// Whether the key is parked.
    pub parked: bool,
    /// The error of the last attempt.
    pub error: String,
    /// The time since which the key waits.
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

/// A group that was created, or that existed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupCreatedDocument<'a> {
    /// The name.
    pub name: &'a str,
    /// Whether the group is new.
    pub created: bool,
    /// The event types. Empty: all.
    pub types: Vec<&'a str>,
    /// The ordering key.
    pub key: String,
    /// The number of segments.
    pub segments: u16,
    /// The position of the group in each partition.
    pub at: &'a [String],
}

impl<'a> GroupCreatedDocument<'a> {
    /// Makes the document for the result of [`crate::app::groups::create`].
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

/// The result of a move of a group, or of its dry run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupMovedDocument<'a> {
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// The name of the group.
    pub name: &'a str,
    /// The position in each partition before the move.
    pub from: Vec<String>,
    /// The position in each partition after the move.
    pub to: Vec<String>,
    /// The number of blocked keys that the move releases.
    pub released: u64,
    /// The number of events in the log after the new position.
    pub lag: u64,
}

impl<'a> GroupMovedDocument<'a> {
    /// Makes the document for the result of [`crate::app::groups::reset`].
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
