//! Reads rows: one call reads everything in one round trip. A map is a hash, an index is a sorted set.

use std::collections::HashMap;

use domain::{
    StorageFailure, StoreId,
    ports::engine::{Read, ReadResult, Snapshot, Space, SpaceKind},
};
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    client::failure::unexpected_reply,
    engine::{
        partition::{Partition, gone},
        state::LAYOUT,
    },
};

/// The number of keys that one round trip of a full scan reads.
const LOOKED_AT_ONCE: usize = 1_000;

/// A key and its value.
type Row = (Vec<u8>, Vec<u8>);

/// The place of a read's answer among the answers of the pipeline.
enum Place {
    /// A value of an `HMGET`: the number of the command, and the number of the field.
    Field(usize, usize),
    /// A score of an index.
    Score(usize),
    /// All rows of a map.
    Map(usize),
    /// A range of an index.
    Index(usize),
    Count(usize),
    Scopes(SpaceKind),
}

/// The commands for some reads.
#[derive(Default)]
struct Question<'r> {
    /// The fields of each space that one command reads together.
    fields: Vec<(&'r Space, Vec<&'r [u8]>)>,
    of_space: HashMap<&'r Space, usize>,
    maps: Vec<&'r Space>,
    of_map: HashMap<&'r Space, usize>,
    others: Pipeline,
    places: Vec<Place>,
}

impl<'r> Question<'r> {
    fn add(&mut self, read: &'r Read, partition: &Partition) {
        let place = match read {
            Read::Row(row) if row.space.kind.is_index() => {
                self.others.cmd("ZSCORE").arg(partition.keys().space(&row.space)).arg(&row.key);
                Place::Score(self.others.len() - 1)
            }
            Read::Row(row) => {
                let at = *self.of_space.entry(&row.space).or_insert_with(|| {
                    self.fields.push((&row.space, Vec::new()));
                    self.fields.len() - 1
                });
                let fields = self.fields.get_mut(at).map(|(_, fields)| {
                    fields.push(row.key.as_slice());
                    fields.len() - 1
                });
                Place::Field(at, fields.unwrap_or(0))
            }
            Read::Range { space, after, before, reverse, limit } if space.kind.is_index() => {
                self.range(&partition.keys().space(space), after, before, *reverse, *limit);
                Place::Index(self.others.len() - 1)
            }
            Read::Range { space, .. } => Place::Map(*self.of_map.entry(space).or_insert_with(|| {
                self.maps.push(space);
                self.maps.len() - 1
            })),
            Read::Count(space) => {
                let command = if space.kind.is_index() { "ZCARD" } else { "HLEN" };
                self.others.cmd(command).arg(partition.keys().space(space));
                Place::Count(self.others.len() - 1)
            }
            Read::Scopes(kind) => Place::Scopes(*kind),
        };
        self.places.push(place);
    }

    fn range(
        &mut self,
        key: &str,
        after: &Option<Vec<u8>>,
        before: &Option<Vec<u8>>,
        reverse: bool,
        limit: usize,
    ) {
        let bound = |key: &Option<Vec<u8>>, open: &[u8]| match key {
            Some(key) => [b"(", key.as_slice()].concat(),
            None => open.to_vec(),
        };
        let (least, greatest) = (bound(after, b"-"), bound(before, b"+"));
        match reverse {
            false => self.others.cmd("ZRANGEBYLEX").arg(key).arg(least).arg(greatest),
            true => self.others.cmd("ZREVRANGEBYLEX").arg(key).arg(greatest).arg(least),
        };
        if let Ok(limit) = i64::try_from(limit) {
            self.others.arg("LIMIT").arg(0).arg(limit);
        }
    }
}

/// Reads rows.
pub(crate) async fn get(partition: &Partition, reads: &[Read]) -> Result<Snapshot, StorageFailure> {
    let mut question = Question::default();
    reads.iter().for_each(|read| question.add(read, partition));
    let Question { fields, maps, others, places, .. } = question;

    let mut pipeline = Pipeline::with_capacity(2 + fields.len() + maps.len() + others.len());
    pipeline.cmd("HMGET").arg(partition.keys().meta()).arg(&["layout", "store", "epoch"][..]);
    partition.ask_time(&mut pipeline);
    for (space, fields) in &fields {
        pipeline.cmd("HMGET").arg(partition.keys().space(space)).arg(fields);
    }
    for space in &maps {
        pipeline.cmd("HGETALL").arg(partition.keys().space(space));
    }
    for command in others.cmd_iter() {
        pipeline.add_command(command.clone());
    }

    let mut answers = partition.link().read_all(&pipeline).await?.into_iter();
    let generation = generation(partition, answers.next().unwrap_or(Value::Nil))?;
    let now = partition.take_time(&mut answers)?;
    let mut values: Vec<Vec<Option<Vec<u8>>>> = Vec::with_capacity(fields.len());
    for answer in answers.by_ref().take(fields.len()) {
        values.push(FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("rows"))?);
    }
    let mut all: Vec<Vec<Row>> = Vec::with_capacity(maps.len());
    for answer in answers.by_ref().take(maps.len()) {
        let mut rows: Vec<Row> =
            FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("rows"))?;
        rows.sort_unstable();
        all.push(rows);
    }
    let mut others: Vec<Option<Value>> = answers.map(Some).collect();
    let mut other =
        |at: usize| others.get_mut(at).and_then(Option::take).ok_or_else(|| unexpected_reply("rows"));
    let keys = match reads.iter().any(|read| matches!(read, Read::Scopes(_))) {
        true => keys_of_rows(partition).await?,
        false => Vec::new(),
    };
    let mut found = Vec::with_capacity(reads.len());
    for (read, place) in reads.iter().zip(places) {
        found.push(match place {
            Place::Field(at, field) => {
                let value = values.get_mut(at).and_then(|values| values.get_mut(field));
                // A field that is read twice was requested twice.
                ReadResult::Row(value.ok_or_else(|| unexpected_reply("rows"))?.take())
            }
            Place::Scopes(kind) => {
                let scopes = keys.iter().filter_map(|key| partition.keys().scope_in(key, kind));
                ReadResult::Range(scopes.map(|scope| (scope, Vec::new())).collect())
            }
            Place::Score(at) => ReadResult::Row((other(at)? != Value::Nil).then(Vec::new)),
            Place::Map(at) => {
                ReadResult::Range(within(read, all.get(at).map(Vec::as_slice).unwrap_or_default()))
            }
            Place::Index(at) => {
                let keys: Vec<Vec<u8>> =
                    FromRedisValue::from_redis_value(other(at)?).map_err(|_| unexpected_reply("an index"))?;
                ReadResult::Range(keys.into_iter().map(|key| (key, Vec::new())).collect())
            }
            Place::Count(at) => match other(at)? {
                Value::Int(count) => ReadResult::Count(u64::try_from(count).unwrap_or(0)),
                _ => return Err(unexpected_reply("a number of rows")),
            },
        });
    }
    Ok(Snapshot::new(now, generation, found))
}

/// Returns the log epoch from the fields of the state.
fn generation(partition: &Partition, answer: Value) -> Result<u64, StorageFailure> {
    let [layout, store, epoch]: [Option<String>; 3] =
        FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("the state"))?;
    if layout.as_deref() != Some(LAYOUT) {
        return Err(gone());
    }
    let store = store
        .and_then(|text| u64::from_str_radix(&text, 16).ok())
        .ok_or_else(|| unexpected_reply("the state"))?;
    partition.check_store(StoreId(store))?;
    epoch.and_then(|text| text.parse().ok()).ok_or_else(|| unexpected_reply("the state"))
}

/// Returns the keys of rows of the partition. Only a scan of all keys of the server finds them, and it shows the keys
/// of other namespaces. Users of services lack that right (`SCAN`) and get an error.
async fn keys_of_rows(partition: &Partition) -> Result<Vec<String>, StorageFailure> {
    let (mut place, mut found) = (0u64, Vec::new());
    let (pattern, meta) = (partition.keys().named("r:*"), partition.keys().meta());
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(place).arg("MATCH").arg(&pattern).arg("COUNT").arg(LOOKED_AT_ONCE);
        let answer = partition.link().read_near(&scan, &meta).await?;
        let (next, keys): (u64, Vec<String>) =
            FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("keys"))?;
        found.extend(keys);
        if next == 0 {
            // A scan may return a key twice if the key was moved meanwhile.
            found.sort_unstable();
            found.dedup();
            return Ok(found);
        }
        place = next;
    }
}

/// Returns the rows of a range read, from all rows of a map, which are sorted.
fn within(read: &Read, rows: &[Row]) -> Vec<Row> {
    let Read::Range { after, before, reverse, limit, .. } = read else { return Vec::new() };
    let from = after.as_ref().map_or(0, |after| rows.partition_point(|(key, _)| key <= after));
    let to = before.as_ref().map_or(rows.len(), |before| rows.partition_point(|(key, _)| key < before));
    let rows = rows.get(from..to).unwrap_or_default();
    match reverse {
        false => rows.iter().take(*limit).cloned().collect(),
        true => rows.iter().rev().take(*limit).cloned().collect(),
    }
}
