//! Where groups are kept, and how their rows read.
//!
//! The records of all groups stand in one hash, beside one of when each was last seen. A group has a hash of where its
//! segments are, one of who has leased them, and one that says how much is in their lanes: a commit to all segments of a
//! group touches few keys. A ledger is a hash for each segment that has one; so is a lane, with a set of its places in order.

use std::collections::HashMap;

use domain::{
    StorageFailure,
    group::{BlockedKey, Gap, GroupRecord, GroupSpec, Key, LaneBatch, LaneOrigin, LaneProgress},
};
use redis::{FromRedisValue, Pipeline, Value};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    failure::shape,
    keys::Keys,
    partition::Partition,
    state::{from_micros, micros},
};

/// The records of all groups, by name.
pub(crate) fn groups_key(keys: &Keys) -> String {
    keys.named("groups")
}

/// In partition 0 of several: the records of groups that are being made, by name. One goes when its group is there.
pub(crate) fn making_key(keys: &Keys) -> String {
    keys.named("groups:making")
}

/// When each group was last seen, in microseconds, by name.
pub(crate) fn seen_key(keys: &Keys) -> String {
    keys.named("seen")
}

/// The batches of a replay that lanes have had, as the function `enqueue` names them: by batch, segment and the group's
/// [`Row::born`]. They go with the replay.
pub(crate) fn queued_key(keys: &Keys, replay_id: &str) -> String {
    keys.with_text("rq", replay_id)
}

/// The keys of one group.
#[derive(Debug, Clone)]
pub(crate) struct GroupKeys {
    prefix: String,
}

impl GroupKeys {
    pub(crate) fn new(keys: &Keys, name: &str) -> Self {
        Self { prefix: keys.with_text("g", name) }
    }

    /// Consumers by name: `TOKEN:UNTIL`, in microseconds.
    pub(crate) fn consumers(&self) -> String {
        format!("{}:c", self.prefix)
    }

    /// Where the segments are: `CURSOR:CLAIMED` by number; and under `born` and `count` of which making they are, and how
    /// many.
    pub(crate) fn segments(&self) -> String {
        format!("{}:s", self.prefix)
    }

    /// Who has leased the segments: [`Owner`] by number.
    pub(crate) fn owners(&self) -> String {
        format!("{}:o", self.prefix)
    }

    /// The lanes: under `lN` the last place of segment N's, under `rN` the references in it.
    pub(crate) fn lanes(&self) -> String {
        format!("{}:f", self.prefix)
    }

    /// A segment's ledger: rows as JSON, each under its key ([`ledger_field`]).
    pub(crate) fn ledger(&self, segment: u16) -> String {
        format!("{}:b:{segment}", self.prefix)
    }

    /// What is in a segment's lane: batches by place ([`batch_text`]), and under `pPLACE` the progress of each as JSON.
    pub(crate) fn lane(&self, segment: u16) -> String {
        format!("{}:l:{segment}", self.prefix)
    }

    /// The places in a segment's lane that are taken, in order: `PLACE:REFERENCES`.
    pub(crate) fn places(&self, segment: u16) -> String {
        format!("{}:q:{segment}", self.prefix)
    }
}

/// The record of a group as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) spec: GroupSpec,
    /// In microseconds.
    pub(crate) created: i64,
    /// Drawn when the group was made: a group that is made again under the name is another. The same in every partition.
    pub(crate) born: String,
    pub(crate) gaps: Vec<Gap>,
    /// In partition 0 of several: where the group began in each partition, or was last set to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) marks: Vec<u64>,
}

impl Row {
    pub(crate) fn record(self, seen: i64) -> GroupRecord {
        GroupRecord {
            spec: self.spec,
            created_at: from_micros(self.created),
            last_seen_at: from_micros(seen),
            gaps: self.gaps,
        }
    }

    pub(crate) fn of(spec: &GroupSpec, created: jiff::Timestamp) -> Self {
        let born = format!("{:016x}", fastrand::u64(..));
        Self { spec: spec.clone(), created: micros(created), born, gaps: Vec::new(), marks: Vec::new() }
    }
}

/// A group with the text that its record is kept as, to guard a change with.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) row: Row,
    pub(crate) text: Vec<u8>,
    /// When it was last seen, in microseconds.
    pub(crate) seen: i64,
}

impl Group {
    fn read(name: &str, text: Vec<u8>, seen: Option<i64>) -> Result<Self, StorageFailure> {
        let row: Row = from_json(&text, || format!("the record of the group {name:?}"))?;
        let seen = seen.unwrap_or(row.created);
        Ok(Self { row, text, seen })
    }

    pub(crate) fn name(&self) -> &str {
        &self.row.spec.name
    }

    pub(crate) fn record(&self) -> GroupRecord {
        self.row.clone().record(self.seen)
    }

    /// The record's text with other gaps.
    pub(crate) fn with_gaps(&self, gaps: Vec<Gap>) -> Result<Vec<u8>, StorageFailure> {
        to_json(&Row { gaps, ..self.row.clone() })
    }
}

/// Who has the newest lease of a segment. It may commit until another takes its place, also when it is over or was given
/// back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) epoch: u64,
    pub(crate) token: u64,
    /// In microseconds; none once it was given back.
    pub(crate) until: Option<i64>,
    pub(crate) consumer: String,
}

impl Owner {
    /// Reads `EPOCH:TOKEN:UNTIL:CONSUMER`.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ':');
        let epoch = parts.next()?.parse().ok()?;
        let token = parts.next()?.parse().ok()?;
        let until = match parts.next()? {
            "" => None,
            until => Some(until.parse().ok()?),
        };
        Some(Self { epoch, token, until, consumer: parts.next()?.to_owned() })
    }

    pub(crate) fn text(&self) -> String {
        let until = self.until.map(|until| until.to_string()).unwrap_or_default();
        format!("{}:{}:{until}:{}", self.epoch, self.token, self.consumer)
    }

    /// The log epoch that it was given in: in no other it is good.
    pub(crate) fn log_epoch(&self) -> u64 {
        self.epoch >> 32
    }
}

/// Where a segment is: its cursor and its claim.
pub(crate) fn place(text: &str) -> Option<(u64, u64)> {
    let (cursor, claimed) = text.split_once(':')?;
    Some((cursor.parse().ok()?, claimed.parse().ok()?))
}

/// The name of a key's row in a ledger: two texts share none.
pub(crate) fn ledger_field(key: &Key) -> String {
    format!("{}:{}{}", key.kind.len(), key.kind, key.id)
}

/// The rows of a ledger, by position, from what `HVALS` answered.
pub(crate) fn ledger(answer: Value) -> Result<Vec<BlockedKey>, StorageFailure> {
    let texts: Vec<Vec<u8>> = FromRedisValue::from_redis_value(answer).map_err(|_| shape("a ledger"))?;
    let mut rows: Vec<BlockedKey> = texts
        .iter()
        .map(|text| from_json(text, || "a row of a ledger".to_owned()))
        .collect::<Result<_, StorageFailure>>()?;
    rows.sort_by_key(|row| row.position);
    Ok(rows)
}

/// A batch as its lane keeps it: where it comes from, as JSON, and its positions after a line feed.
pub(crate) fn batch_text(origin: &LaneOrigin, positions: &[u64]) -> Result<Vec<u8>, StorageFailure> {
    let mut text = to_json(origin)?;
    text.push(b'\n');
    for (at, position) in positions.iter().enumerate() {
        if at > 0 {
            text.push(b' ');
        }
        text.extend_from_slice(position.to_string().as_bytes());
    }
    Ok(text)
}

/// A batch of a lane, with its progress where there is any.
pub(crate) fn batch(
    segment: u16,
    seq: u64,
    text: &[u8],
    progress: Option<&[u8]>,
) -> Result<LaneBatch, StorageFailure> {
    let damaged = || {
        StorageFailure::Corrupt(format!("the batch {seq} in the lane of segment {segment} cannot be read"))
    };
    let split = text.iter().position(|byte| *byte == b'\n').ok_or_else(damaged)?;
    let (origin, positions) = text.split_at(split);
    let origin: LaneOrigin = serde_json::from_slice(origin).map_err(|_| damaged())?;
    let positions = std::str::from_utf8(positions).map_err(|_| damaged())?;
    let positions =
        positions.split_ascii_whitespace().map(|position| position.parse().map_err(|_| damaged()));
    let positions = positions.collect::<Result<Vec<u64>, _>>()?;
    let progress = match progress {
        Some(text) => serde_json::from_slice(text).map_err(|_| damaged())?,
        None => LaneProgress::default(),
    };
    Ok(LaneBatch { seq, segment, origin, positions, progress })
}

/// The batches of a lane in order, from what `HGETALL` answered.
pub(crate) fn lane(segment: u16, answer: Value) -> Result<Vec<LaneBatch>, StorageFailure> {
    Ok(lane_with_progress(segment, answer)?.into_iter().map(|(batch, _)| batch).collect())
}

/// The batches of a lane in order, each with the text of its progress, empty where there is none.
pub(crate) fn lane_with_progress(
    segment: u16,
    answer: Value,
) -> Result<Vec<(LaneBatch, Vec<u8>)>, StorageFailure> {
    let mut fields: HashMap<String, Vec<u8>> =
        FromRedisValue::from_redis_value(answer).map_err(|_| shape("a lane"))?;
    let mut places: Vec<u64> = fields.keys().filter_map(|field| field.parse().ok()).collect();
    places.sort_unstable();
    let mut batches = Vec::with_capacity(places.len());
    for seq in places {
        let text = fields.remove(&seq.to_string()).unwrap_or_default();
        let progress = fields.remove(&format!("p{seq}"));
        batches.push((batch(segment, seq, &text, progress.as_deref())?, progress.unwrap_or_default()));
    }
    Ok(batches)
}

/// What a group has not passed: what trims must keep for it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) group: Group,
    /// In order.
    pub(crate) segments: Vec<HeldSegment>,
}

/// What a segment has not passed.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldSegment {
    pub(crate) cursor: u64,
    /// Its ledger, by position.
    pub(crate) blocked: Vec<BlockedKey>,
    /// What its lane refers to.
    pub(crate) lane: Vec<u64>,
}

impl HeldSegment {
    /// Everything of the segment at or below this sequence is done, and nothing waits there.
    pub(crate) fn mark(&self) -> u64 {
        let named = self.blocked.iter().map(|row| row.position).chain(self.lane.iter().copied()).min();
        named.map_or(self.cursor, |named| self.cursor.min(named.saturating_sub(1)))
    }
}

impl Held {
    /// Everything at or below this sequence is passed by every segment.
    pub(crate) fn mark(&self) -> u64 {
        self.segments.iter().map(HeldSegment::mark).min().unwrap_or(u64::MAX)
    }
}

impl Partition {
    /// Every group, by name.
    pub(crate) async fn all_groups(&self) -> Result<Vec<Group>, StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("HGETALL").arg(groups_key(self.keys()));
        pipeline.cmd("HGETALL").arg(seen_key(self.keys()));
        let [groups, seen] = answers(self.link().read_all(&pipeline).await?)?;
        let groups: HashMap<String, Vec<u8>> =
            FromRedisValue::from_redis_value(groups).map_err(|_| shape("the groups"))?;
        let seen: HashMap<String, i64> =
            FromRedisValue::from_redis_value(seen).map_err(|_| shape("when groups were seen"))?;
        let read = |(name, text): (String, Vec<u8>)| Group::read(&name, text, seen.get(&name).copied());
        let mut groups = groups.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;
        groups.sort_by(|one, other| one.name().cmp(other.name()));
        Ok(groups)
    }

    /// Groups by name; none where there is no such.
    pub(crate) async fn groups_named(&self, names: &[&str]) -> Result<Vec<Option<Group>>, StorageFailure> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.cmd("HMGET").arg(groups_key(self.keys())).arg(names);
        pipeline.cmd("HMGET").arg(seen_key(self.keys())).arg(names);
        let [texts, seen] = answers(self.link().read_all(&pipeline).await?)?;
        let texts: Vec<Option<Vec<u8>>> =
            FromRedisValue::from_redis_value(texts).map_err(|_| shape("groups"))?;
        let seen: Vec<Option<i64>> =
            FromRedisValue::from_redis_value(seen).map_err(|_| shape("when groups were seen"))?;
        let rows = names.iter().zip(texts).zip(seen);
        rows.map(|((name, text), seen)| text.map(|text| Group::read(name, text, seen)).transpose()).collect()
    }

    /// A group by name.
    pub(crate) async fn group_named(&self, name: &str) -> Result<Option<Group>, StorageFailure> {
        Ok(self.groups_named(&[name]).await?.pop().flatten())
    }

    /// Every group with what it has not passed. A segment that another has deleted meanwhile is passed over.
    pub(crate) async fn held_by_groups(&self) -> Result<Vec<Held>, StorageFailure> {
        let groups = self.all_groups().await?;
        let mut held = Vec::with_capacity(groups.len());
        for group in groups {
            let segments = self.held_segments(&group).await?;
            held.push(Held { group, segments });
        }
        Ok(held)
    }

    async fn held_segments(&self, group: &Group) -> Result<Vec<HeldSegment>, StorageFailure> {
        let keys = GroupKeys::new(self.keys(), group.name());
        let count = group.row.spec.segments;
        let mut pipeline = Pipeline::with_capacity(2 * usize::from(count) + 1);
        // Read first: what a commit puts into a ledger while it moves the cursor lies behind the cursor that is seen here.
        pipeline.cmd("HGETALL").arg(keys.segments());
        for segment in 0..count {
            pipeline.cmd("HVALS").arg(keys.ledger(segment));
            pipeline.cmd("HGETALL").arg(keys.lane(segment));
        }
        let mut answers = self.link().read_all(&pipeline).await?.into_iter();
        let places = places(answers.next().ok_or_else(|| shape("the segments of a group"))?)?;
        let mut segments = Vec::with_capacity(usize::from(count));
        for segment in 0..count {
            let (Some(rows), Some(batches)) = (answers.next(), answers.next()) else {
                return Err(shape("the segments of a group"));
            };
            let Some((cursor, _)) = places.get(&segment) else { continue };
            let blocked = ledger(rows)?;
            let lane = lane(segment, batches)?.into_iter().flat_map(|batch| batch.positions).collect();
            segments.push(HeldSegment { cursor: *cursor, blocked, lane });
        }
        Ok(segments)
    }
}

/// The cursor and claim of each segment, from what `HGETALL` answered.
pub(crate) fn places(answer: Value) -> Result<HashMap<u16, (u64, u64)>, StorageFailure> {
    let fields: HashMap<String, String> =
        FromRedisValue::from_redis_value(answer).map_err(|_| shape("the segments of a group"))?;
    let segment = |(field, text): (String, String)| {
        let number: u16 = field.parse().ok()?;
        Some(place(&text).map(|place| (number, place)).ok_or_else(|| shape("where a segment is")))
    };
    fields.into_iter().filter_map(segment).collect()
}

/// As many answers as were asked for.
pub(crate) fn answers<const N: usize>(answers: Vec<Value>) -> Result<[Value; N], StorageFailure> {
    answers.try_into().map_err(|_| shape("several commands"))
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<Vec<u8>, StorageFailure> {
    serde_json::to_vec(value).map_err(|error| StorageFailure::Other(error.to_string()))
}

pub(crate) fn from_json<T: DeserializeOwned>(
    text: &[u8],
    what: impl FnOnce() -> String,
) -> Result<T, StorageFailure> {
    serde_json::from_slice(text)
        .map_err(|error| StorageFailure::Corrupt(format!("{} cannot be read: {error}", what())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_two_keys_are_never_one() {
        let keys = [Key::new("a", "1:b"), Key::new("a1", ":b"), Key::new("a1:", "b"), Key::new("", "a1:b")];
        let fields: std::collections::HashSet<String> = keys.iter().map(ledger_field).collect();
        assert_eq!(fields.len(), keys.len());
    }

    #[test]
    fn an_owner_of_any_name_comes_back() {
        for (until, consumer) in [(None, "a:b"), (Some(-5), ""), (Some(17), "::\n")] {
            let owner = Owner { epoch: u64::MAX, token: 3, until, consumer: consumer.to_owned() };
            assert_eq!(Owner::read(&owner.text()), Some(owner));
        }
    }

    #[test]
    fn a_batch_comes_back() {
        let origin = LaneOrigin::Replay { replay_id: "a\n b".to_owned(), batch: 7 };
        for positions in [vec![], vec![u64::MAX], vec![1, 2, 700_000]] {
            let text = batch_text(&origin, &positions).unwrap();
            let read = batch(3, 9, &text, None).unwrap();
            assert_eq!((&read.origin, read.positions, read.seq), (&origin, positions, 9));
        }
    }
}
