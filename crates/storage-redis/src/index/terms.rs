//! The parts of a filter that lists of positions can answer, and these lists.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{Filter, StorageFailure, TypePattern};
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    client::failure::unexpected_reply,
    engine::{
        keys::{Long, Term, hour_of},
        partition::Partition,
    },
    index::{
        pending::Pending,
        postings::{Range, Run},
    },
};

/// The largest number of lists of one part in one chunk. A part with more lists is not read by lists.
const MOST_LISTS: usize = 512;
/// The largest number of terms of one part that are looked up.
const MOST_TERMS: usize = 2_000;
/// The largest number of hours that are read by name. For a longer range, the directory says which hours exist.
const HOURS_BY_NAME: i64 = 48;
/// The largest number of names of a directory that are read. A larger directory is not used.
const MOST_NAMES: usize = 4_096;

/// A part with one list of positions for each value and chunk.
#[derive(Debug)]
pub(crate) enum LongPart<'f> {
    Types(&'f [TypePattern]),
    Sources(&'f BTreeSet<String>),
    /// The first and the last hour that may have events of the time range.
    Hours(i64, i64),
}

/// The parts of a filter that lists can answer.
#[derive(Debug, Default)]
pub(crate) struct Parts<'f> {
    pub(crate) longs: Vec<LongPart<'f>>,
    /// Parts with terms that usually have few events.
    pub(crate) shorts: Vec<Vec<Term>>,
    /// Whether the lists answer the whole filter. Then an event that is in a list of each part matches. Only in the
    /// first and the last hour of the time range, its timestamp must be checked too.
    pub(crate) is_all: bool,
}

impl<'f> Parts<'f> {
    pub(crate) fn of(filter: &'f Filter) -> Self {
        let mut parts =
            Self { is_all: filter.condition.is_none() && filter.event_ids.is_empty(), ..Self::default() };
        if !filter.types.is_empty() {
            parts.longs.push(LongPart::Types(&filter.types));
        }
        if !filter.sources.is_empty() {
            parts.longs.push(LongPart::Sources(&filter.sources));
        }
        if filter.from.is_some() || filter.to.is_some() {
            let hour = |time: Option<_>, other| time.map_or(other, hour_of);
            parts.longs.push(LongPart::Hours(hour(filter.from, i64::MIN), hour(filter.to, i64::MAX)));
        }
        if !filter.correlation_ids.is_empty() {
            let ids = filter.correlation_ids.iter();
            parts.add_short(ids.map(|id| Term::of_correlation(id)).collect());
        }
        for (kind, ids) in &filter.entities {
            parts.add_short(ids.iter().map(|id| Term::of_entity(kind, id)).collect());
        }
        parts
    }

    fn add_short(&mut self, terms: Vec<Term>) {
        if terms.len() <= MOST_TERMS {
            self.shorts.push(terms);
        } else {
            self.is_all = false;
        }
    }
}

/// A list of a part in a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name in the directory.
    pub(crate) field: String,
    /// The hour of the list, if it is a list of an hour.
    pub(crate) hour: Option<i64>,
    /// The number of its positions, and the pending positions beside them.
    pub(crate) len: u64,
    pub(crate) waiting: Vec<u64>,
}

impl Listed {
    /// Returns the number of all positions. It is too large if some were folded meanwhile.
    pub(crate) fn all(&self) -> u64 {
        self.len + self.waiting.len() as u64
    }
}

/// The lists that a chunk has for the long parts of a filter.
#[derive(Debug)]
pub(crate) struct ChunkLists {
    pub(crate) chunk: u64,
    /// The number of events of the chunk.
    pub(crate) events: u64,
    /// The lists of each part. None if there are too many.
    pub(crate) parts: Vec<Option<Vec<Listed>>>,
}

impl ChunkLists {
    /// Returns the positions of a list in a range: the stored ones, and the pending ones.
    pub(crate) fn runs(&self, store: &Partition, list: &Listed, range: Range) -> [Run; 2] {
        let key = store.keys().long(self.chunk, &list.field);
        [Run::of_chunk(key, self.chunk, self.events, list.len, range), Run::known(&list.waiting, range)]
    }
}

impl LongPart<'_> {
    /// Returns the names of its lists, if they are known without a directory.
    fn names(&self) -> Option<Vec<(String, Option<i64>)>> {
        let plain = |long: Long<'_>| (long.field(), None);
        match self {
            Self::Types(patterns) => {
                let exact: Option<BTreeSet<&str>> = patterns.iter().map(TypePattern::exact).collect();
                exact.map(|names| names.into_iter().map(|name| plain(Long::Type(name))).collect())
            }
            Self::Sources(sources) => {
                Some(sources.iter().map(|source| plain(Long::Source(source))).collect())
            }
            Self::Hours(first, last) if last.saturating_sub(*first) <= HOURS_BY_NAME => {
                Some((*first..=*last).map(|hour| (Long::Hour(hour).field(), Some(hour))).collect())
            }
            Self::Hours(..) => None,
        }
    }

    /// Returns those names of a directory that belong to this part.
    fn names_of(&self, directory: &[&str]) -> Vec<(String, Option<i64>)> {
        let mut names = Vec::new();
        for name in directory {
            match (self, name.split_once(':')) {
                (Self::Types(patterns), Some(("t", text))) => {
                    let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
                    let event_type = String::from_utf8(bytes).unwrap_or_default();
                    if patterns.iter().any(|pattern| pattern.matches(&event_type)) {
                        names.push(((*name).to_owned(), None));
                    }
                }
                (Self::Hours(first, last), Some(("h", text))) => {
                    let hour = text.parse().ok().filter(|hour| (first..=last).contains(&hour));
                    names.extend(hour.map(|hour| ((*name).to_owned(), Some(hour))));
                }
                _ => {}
            }
        }
        names
    }
}

/// Names of lists in a directory, each with its hour if it is a list of an hour.
type Names = Vec<(String, Option<i64>)>;

/// Returns the lists of some parts in some chunks, with their lengths and their pending positions. It takes one round
/// trip, or two if directories are needed.
pub(crate) async fn lists(
    store: &Partition,
    parts: &[LongPart<'_>],
    chunks: &[u64],
    pending: &Pending,
) -> Result<Vec<ChunkLists>, StorageFailure> {
    let named: Vec<_> = parts.iter().map(LongPart::names).collect();
    let directories = match named.iter().any(Option::is_none) {
        true => directories(store, chunks).await?,
        false => BTreeMap::new(),
    };
    let mut pipeline = Pipeline::new();
    let mut found = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        pipeline.cmd("XLEN").arg(store.keys().log(*chunk));
        let names = parts.iter().zip(&named).map(|(part, named)| match (named, directories.get(chunk)) {
            (Some(names), _) => Some(names.clone()),
            (None, Some(Some(directory))) => {
                let waiting = pending.names(*chunk).into_iter().filter(|name| !directory.contains(*name));
                let names: Vec<&str> = directory.iter().map(String::as_str).chain(waiting).collect();
                Some(part.names_of(&names))
            }
            (None, _) => None,
        });
        let names: Vec<_> = names.map(|names| names.filter(|names| names.len() <= MOST_LISTS)).collect();
        for (field, _) in names.iter().flatten().flatten() {
            pipeline.cmd("LLEN").arg(store.keys().long(*chunk, field));
        }
        found.push((*chunk, names));
    }
    let mut lengths = store.link().read_all(&pipeline).await?.into_iter().map(|value| match value {
        Value::Int(length) => Ok(length.max(0) as u64),
        _ => Err(unexpected_reply("a length")),
    });
    let mut length = || lengths.next().unwrap_or_else(|| Err(unexpected_reply("lengths")));
    found.into_iter().map(|(chunk, names)| chunk_lists(chunk, names, pending, &mut length)).collect()
}

fn chunk_lists(
    chunk: u64,
    names: Vec<Option<Names>>,
    pending: &Pending,
    length: &mut impl FnMut() -> Result<u64, StorageFailure>,
) -> Result<ChunkLists, StorageFailure> {
    let events = length()?;
    let mut parts = Vec::with_capacity(names.len());
    for names in names {
        let Some(names) = names else {
            parts.push(None);
            continue;
        };
        let mut lists = Vec::new();
        for (field, hour) in names {
            let len = length()?;
            let waiting = pending.of_long(chunk, &field);
            if len > 0 || !waiting.is_empty() {
                lists.push(Listed { field, hour, len, waiting });
            }
        }
        parts.push(Some(lists));
    }
    Ok(ChunkLists { chunk, events, parts })
}

/// Returns the names in the directories of some chunks. None if there are too many.
async fn directories(
    store: &Partition,
    chunks: &[u64],
) -> Result<BTreeMap<u64, Option<BTreeSet<String>>>, StorageFailure> {
    let mut pipeline = Pipeline::with_capacity(chunks.len());
    for chunk in chunks {
        // A scan of a small hash returns all of it. A scan of a large hash returns about the requested number of
        // fields.
        pipeline.cmd("HSCAN").arg(store.keys().directory(*chunk)).arg(0).arg("COUNT").arg(MOST_NAMES);
    }
    let answers = store.link().read_all(&pipeline).await?;
    let mut found = BTreeMap::new();
    for (chunk, answer) in chunks.iter().zip(answers) {
        let (next, pairs): (String, Vec<(String, String)>) =
            FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("a directory"))?;
        found.insert(*chunk, (next == "0").then(|| pairs.into_iter().map(|(name, _)| name).collect()));
    }
    Ok(found)
}
