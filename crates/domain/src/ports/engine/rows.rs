//! Rows: keys and values beside the log.
//!
//! A row lies in a [`Space`]: a kind, and a scope that divides the kind (the group, the segment, the replay). Most
//! kinds are *maps*, which are read by key or whole. Some kinds are *indexes*: ordered keys without values, which are
//! read in ranges with a limit. An adapter knows only this closed list of kinds. It knows where a map or an index of
//! a scope lies, and never its content.
//!
//! Keys and scopes are built with [`key`]. So no two lists of parts share a key, and keys sort as their parts do.

use std::collections::VecDeque;

use jiff::Timestamp;

/// Kind of a row. Maps are first, then indexes, then later additions. The order is part of the stored format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpaceKind {
    /// Counters of the store: `removals`, `holds`, `leases`, `scheduled`, `audit`, `tokens`.
    Counter,
    /// Consumer groups, by name.
    Group,
    /// Incarnation of each group, by name. A group that is deleted and made again has another incarnation.
    Incarnation,
    /// Time at which each group was last seen, by name.
    GroupSeen,
    /// Groups that are being made in several partitions, by name.
    GroupDraft,
    /// Of a group: cursor and claim, by segment.
    Segment,
    /// Of a group: the newest lease of each segment. Only a consumer that takes the segment changes it, so that
    /// renewals do not conflict with commits.
    Fence,
    /// Of a group: expiry and holder of the lease of each segment.
    Lease,
    /// Of a group: its consumers, by name.
    Consumer,
    /// Of a segment: blocked keys.
    Blocked,
    /// Of a group: the last place of each segment's lane.
    LaneEnd,
    /// Of a group: the number of references in each segment's lane.
    LaneSize,
    /// Of a segment: batches of references, by place.
    Lane,
    /// Of a segment: the progress of batches, by place.
    LaneProgress,
    /// Of a replay: batches that segments have had.
    ReplayBatch,
    /// Of a replay: results of its batches.
    ReplayResult,
    /// Replays, by id: the frozen part.
    ReplayPlan,
    /// Replays, by id: the changeable part.
    Replay,
    /// The newest lease of each replay, by id.
    ReplayFence,
    /// The number below which each replay's batches are settled, by id.
    ReplaySettled,
    /// Dead letters, by id.
    DeadLetter,
    /// Events of dead letters, by id.
    DeadLetterEvent,
    /// Of a group: the id of the dead letter of a position.
    DeadLetterAt,
    /// Groups that have dead letters.
    DeadLetterGroup,
    /// Scheduled events, by id.
    Scheduled,
    /// Checkpoints, by name.
    Checkpoint,
    /// Schemas, by type and version.
    Schema,
    /// Texts of schema files, by digest.
    SchemaDocument,
    /// Of a minute: counts and sums.
    Stat,
    /// An index of dead letters, by the time at which they were made.
    DeadLetterOrder,
    /// An index of a group's dead letters in one state, by the time at which they were made.
    DeadLetterState,
    /// An index of scheduled events, by the time at which they are due.
    ScheduleOrder,
    /// An index of replays, by the time at which they were made.
    ReplayOrder,
    /// An index of replays that are not final, by the time at which they were made.
    OpenReplay,
    /// An index of the minutes that have counts.
    StatMinute,
    /// A map: entries of the audit, by number.
    Audit,
    /// A map: tokens of clients, by id.
    Token,
    /// A map: counts of the indexed events ([`crate::tally`]).
    Tally,
    /// A map: kept plans, by id: the changeable part.
    Plan,
    /// A map: kept plans, by id: the frozen part.
    PlanDocument,
    /// A map: of a group, its pauses, by source.
    GroupPause,
    /// A map: edited events of dead letters, by id.
    DeadLetterEdit,
    /// A map: requests of clients and their answers, by client, route and key.
    Request,
    /// An index of requests, by the time at which they expire.
    RequestOrder,
}

impl SpaceKind {
    /// Every kind, in the order of their numbers.
    pub const ALL: &'static [Self] = &[
        Self::Counter,
        Self::Group,
        Self::Incarnation,
        Self::GroupSeen,
        Self::GroupDraft,
        Self::Segment,
        Self::Fence,
        Self::Lease,
        Self::Consumer,
        Self::Blocked,
        Self::LaneEnd,
        Self::LaneSize,
        Self::Lane,
        Self::LaneProgress,
        Self::ReplayBatch,
        Self::ReplayResult,
        Self::ReplayPlan,
        Self::Replay,
        Self::ReplayFence,
        Self::ReplaySettled,
        Self::DeadLetter,
        Self::DeadLetterEvent,
        Self::DeadLetterAt,
        Self::DeadLetterGroup,
        Self::Scheduled,
        Self::Checkpoint,
        Self::Schema,
        Self::SchemaDocument,
        Self::Stat,
        Self::DeadLetterOrder,
        Self::DeadLetterState,
        Self::ScheduleOrder,
        Self::ReplayOrder,
        Self::OpenReplay,
        Self::StatMinute,
        Self::Audit,
        Self::Token,
        Self::Tally,
        Self::Plan,
        Self::PlanDocument,
        Self::GroupPause,
        Self::DeadLetterEdit,
        Self::Request,
        Self::RequestOrder,
    ];

    /// Returns whether the kind is an index: ordered keys without values.
    pub fn is_index(self) -> bool {
        matches!(
            self,
            Self::DeadLetterOrder
                | Self::DeadLetterState
                | Self::ScheduleOrder
                | Self::ReplayOrder
                | Self::OpenReplay
                | Self::StatMinute
                | Self::RequestOrder
        )
    }

    /// Returns a short name that is part of the stored format. It consists only of letters and hyphens.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Group => "group",
            Self::Incarnation => "incarnation",
            Self::GroupSeen => "group-seen",
            Self::GroupDraft => "group-draft",
            Self::Segment => "segment",
            Self::Fence => "fence",
            Self::Lease => "lease",
            Self::Consumer => "consumer",
            Self::Blocked => "blocked",
            Self::LaneEnd => "lane-end",
            Self::LaneSize => "lane-size",
            Self::Lane => "lane",
            Self::LaneProgress => "lane-progress",
            Self::ReplayBatch => "replay-batch",
            Self::ReplayResult => "replay-result",
            Self::ReplayPlan => "replay-plan",
            Self::Replay => "replay",
            Self::ReplayFence => "replay-fence",
            Self::ReplaySettled => "replay-settled",
            Self::DeadLetter => "dead-letter",
            Self::DeadLetterEvent => "dead-letter-event",
            Self::DeadLetterAt => "dead-letter-at",
            Self::DeadLetterGroup => "dead-letter-group",
            Self::Scheduled => "scheduled",
            Self::Checkpoint => "checkpoint",
            Self::Schema => "schema",
            Self::SchemaDocument => "schema-document",
            Self::Stat => "stat",
            Self::DeadLetterOrder => "dead-letter-order",
            Self::DeadLetterState => "dead-letter-state",
            Self::ScheduleOrder => "schedule-order",
            Self::ReplayOrder => "replay-order",
            Self::OpenReplay => "open-replay",
            Self::StatMinute => "stat-minute",
            Self::Audit => "audit",
            Self::Token => "token",
            Self::Tally => "tally",
            Self::Plan => "plan",
            Self::PlanDocument => "plan-document",
            Self::GroupPause => "group-pause",
            Self::DeadLetterEdit => "dead-letter-edit",
            Self::Request => "request",
            Self::RequestOrder => "request-order",
        }
    }

    /// Returns the number of the kind in the stored format: its place in [`SpaceKind::ALL`].
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// The place of rows: a kind, and the scope that divides it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space {
    /// Kind of the rows.
    pub kind: SpaceKind,
    /// Scope of the rows. Empty if nothing divides the kind.
    pub scope: Vec<u8>,
}

impl Space {
    /// Returns the space of a kind that has no scopes.
    pub fn of(kind: SpaceKind) -> Self {
        Self { kind, scope: Vec::new() }
    }

    /// Returns the part of a kind that has this scope.
    pub fn within(kind: SpaceKind, scope: impl Into<Vec<u8>>) -> Self {
        Self { kind, scope: scope.into() }
    }

    /// Returns the row of this space with this key.
    pub fn row(&self, key: impl Into<Vec<u8>>) -> RowId {
        self.clone().into_row(key)
    }

    /// Returns the row of this space with this key, without a copy of the space.
    pub fn into_row(self, key: impl Into<Vec<u8>>) -> RowId {
        RowId { space: self, key: key.into() }
    }
}

/// Identity of one row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// Space of the row.
    pub space: Space,
    /// Key of the row, unique in its space.
    pub key: Vec<u8>,
}

impl RowId {
    /// Returns a row of a kind that has no scopes.
    pub fn of(kind: SpaceKind, key: impl Into<Vec<u8>>) -> Self {
        Space::of(kind).into_row(key)
    }
}

/// One read of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The value of one row of a map.
    Row(RowId),
    /// Rows in the order of their keys. The values are empty for an index.
    Range {
        /// Space of the rows.
        space: Space,
        /// Key after which the range starts (exclusive). None starts at the first key.
        after: Option<Vec<u8>>,
        /// Key before which the range ends (exclusive). None ends at the last key.
        before: Option<Vec<u8>>,
        /// Whether the rows are in reverse order. The bounds keep their meaning.
        reverse: bool,
        /// Most rows to return.
        limit: usize,
    },
    /// The number of rows of a space.
    Count(Space),
    /// The scopes of a kind that have rows, in any order, each with an empty value. The read may pass over every key
    /// of the partition, so it is for verification only.
    Scopes(SpaceKind),
}

impl Read {
    /// Returns a read of every row of a space.
    pub fn all(space: Space) -> Self {
        Self::Range { space, after: None, before: None, reverse: false, limit: usize::MAX }
    }

    /// Returns a read of the first rows of a space.
    pub fn first(space: Space, limit: usize) -> Self {
        Self::Range { space, after: None, before: None, reverse: false, limit }
    }
}

/// Result of one [`Read`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadResult {
    /// Value of a row, or none if there is no such row.
    Row(Option<Vec<u8>>),
    /// Keys and values. For [`Read::Scopes`], the keys are the scopes.
    Range(Vec<(Vec<u8>, Vec<u8>)>),
    /// Number of rows.
    Count(u64),
}

/// Results of a call of [`super::StorageEngine::get`]. The caller takes the answers in the order of the reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Time of the store's clock.
    pub now: Timestamp,
    /// Generation of the partition, for [`super::Guard::Generation`].
    pub generation: u64,
    answers: VecDeque<ReadResult>,
}

impl Snapshot {
    /// Returns a snapshot with these answers and the time of the read.
    pub fn new(now: Timestamp, generation: u64, answers: impl IntoIterator<Item = ReadResult>) -> Self {
        Self { now, generation, answers: answers.into_iter().collect() }
    }

    /// Takes the next answer, to [`Read::Row`].
    pub fn row(&mut self) -> Option<Vec<u8>> {
        match self.answers.pop_front() {
            Some(ReadResult::Row(value)) => value,
            _ => None,
        }
    }

    /// Takes the next answer, to [`Read::Range`] or [`Read::Scopes`].
    pub fn range(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        match self.answers.pop_front() {
            Some(ReadResult::Range(rows)) => rows,
            _ => Vec::new(),
        }
    }

    /// Takes the next answer, to [`Read::Count`].
    pub fn count(&mut self) -> u64 {
        match self.answers.pop_front() {
            Some(ReadResult::Count(count)) => count,
            _ => 0,
        }
    }
}

/// One part of a key.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// A text. It sorts by its bytes.
    Text(&'a str),
    /// A number. It sorts in numeric order.
    Number(u64),
    /// An instant. It sorts in time order, to the nanosecond.
    Time(Timestamp),
}

/// Returns the key of a list of parts. Keys sort by their parts, one after the other, and no two lists of parts have
/// the same key.
///
/// A text ends with a zero byte. A zero byte within a text becomes two bytes, 0 and 255. Numbers and instants are
/// decimal digits of a fixed length, so that a person can read them.
///
/// ```
/// use event_replay_domain::ports::engine::rows::{Part, key};
/// assert!(key(&[Part::Text("a"), Part::Number(9)]) < key(&[Part::Text("a"), Part::Number(10)]));
/// assert_ne!(key(&[Part::Text("a"), Part::Text("b")]), key(&[Part::Text("ab"), Part::Text("")]));
/// ```
pub fn key(parts: &[Part<'_>]) -> Vec<u8> {
    let mut key = Vec::with_capacity(24 * parts.len());
    for part in parts {
        match part {
            Part::Text(text) => {
                for byte in text.bytes() {
                    key.push(byte);
                    if byte == 0 {
                        key.push(255);
                    }
                }
                key.push(0);
            }
            Part::Number(number) => put_digits(&mut key, *number),
            // The count starts at the earliest instant, so it is never negative.
            Part::Time(time) => {
                let since = time.as_nanosecond() - Timestamp::MIN.as_nanosecond();
                key.extend_from_slice(format!("{since:021}").as_bytes());
            }
        }
    }
    key
}

/// Writes a number as 20 digits. Every `u64` fits.
fn put_digits(key: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    key.extend_from_slice(&digits);
}

/// Reads the parts of a key.
#[derive(Debug, Clone, Copy)]
pub struct KeyReader<'a>(&'a [u8]);

impl<'a> KeyReader<'a> {
    /// Starts at the first part.
    pub fn new(key: &'a [u8]) -> Self {
        Self(key)
    }

    /// Returns the next part, a text.
    pub fn text(&mut self) -> Option<String> {
        let mut text = Vec::new();
        let mut at = 0;
        loop {
            let byte = *self.0.get(at)?;
            at += 1;
            if byte == 0 {
                if self.0.get(at) != Some(&255) {
                    break;
                }
                at += 1;
            }
            text.push(byte);
        }
        self.0 = self.0.get(at..)?;
        String::from_utf8(text).ok()
    }

    /// Returns the next part, a number.
    pub fn number(&mut self) -> Option<u64> {
        std::str::from_utf8(self.digits(20)?).ok()?.parse().ok()
    }

    /// Returns the next part, an instant.
    pub fn time(&mut self) -> Option<Timestamp> {
        let since: i128 = std::str::from_utf8(self.digits(21)?).ok()?.parse().ok()?;
        Timestamp::from_nanosecond(since + Timestamp::MIN.as_nanosecond()).ok()
    }

    fn digits(&mut self, count: usize) -> Option<&'a [u8]> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_numbered_by_their_place_and_named_once() {
        let mut names = std::collections::BTreeSet::new();
        for (kind, number) in SpaceKind::ALL.iter().zip(0u8..) {
            assert_eq!(kind.number(), number, "{kind:?}");
            assert!(names.insert(kind.name()), "{kind:?}");
            assert!(kind.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
        }
    }

    #[test]
    fn keys_sort_as_their_parts_and_come_back() {
        let texts = ["", "\0", "\0\u{1}", "a", "a\0", "a\0b", "aa", "b", "ü"];
        let mut keys = Vec::new();
        for one in texts {
            for other in texts {
                let own = key(&[Part::Text(one), Part::Text(other)]);
                let mut reader = KeyReader::new(&own);
                assert_eq!(reader.text().as_deref(), Some(one));
                assert_eq!(reader.text().as_deref(), Some(other));
                keys.push(own);
            }
        }
        assert!(keys.is_sorted(), "{keys:?}");
        keys.dedup();
        assert_eq!(keys.len(), texts.len() * texts.len());
        for time in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
            let own = key(&[Part::Time(time), Part::Number(u64::MAX)]);
            let mut reader = KeyReader::new(&own);
            assert_eq!((reader.time(), reader.number()), (Some(time), Some(u64::MAX)));
        }
    }
}
