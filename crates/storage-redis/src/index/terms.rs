//! The parts of a filter that lists of positions can answer, and which lists those are.

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

/// Lists that one part is read by in one chunk; with more it is not read by lists.
const MOST_LISTS: usize = 512;
/// Terms of one part that are looked up.
const MOST_TERMS: usize = 2_000;
/// Hours that are asked for by name; of a longer range the directory says which there are.
const HOURS_BY_NAME: i64 = 48;
/// Names of a directory that are read; a longer one is not used.
const MOST_NAMES: usize = 4_096;

/// A part whose positions stand in a list a value and chunk.
#[derive(Debug)]
pub(crate) enum LongPart<'f> {
    Types(&'f [TypePattern]),
    Sources(&'f BTreeSet<String>),
    /// The hours that may hold events of the time range, the first and the last.
    Hours(i64, i64),
}

/// What the lists know of a filter.
#[derive(Debug, Default)]
pub(crate) struct Parts<'f> {
    pub(crate) longs: Vec<LongPart<'f>>,
    /// Parts whose terms few events have, as a rule.
    pub(crate) shorts: Vec<Vec<Term>>,
    /// Whether the lists know all of the filter: nothing else needs to be asked of an event that stands in a list of each
    /// part, but whether it lies in the time range, where it is of the range's first or last hour.
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
    /// The hour that it is of, where it is of one.
    pub(crate) hour: Option<i64>,
    /// How many positions it has, and what waits to be folded into it beside these.
    pub(crate) len: u64,
    pub(crate) waiting: Vec<u64>,
}

impl Listed {
    /// How many positions there are in all; more where some were folded meanwhile.
    pub(crate) fn all(&self) -> u64 {
        self.len + self.waiting.len() as u64
    }
}

/// What a chunk has of the long parts of a filter.
#[derive(Debug)]
pub(crate) struct ChunkLists {
    pub(crate) chunk: u64,
    /// How many events it has.
    pub(crate) events: u64,
    /// For each part its lists; none where there are too many.
    pub(crate) parts: Vec<Option<Vec<Listed>>>,
}

impl ChunkLists {
    /// What one of its lists has in a range, and what waits to be folded into it.
    pub(crate) fn runs(&self, store: &Partition, list: &Listed, range: Range) -> [Run; 2] {
        let key = store.keys().long(self.chunk, &list.field);
        [Run::of_chunk(key, self.chunk, self.events, list.len, range), Run::known(&list.waiting, range)]
    }
}

impl LongPart<'_> {
    /// The names of its lists, where they can be told without looking into a directory.
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

    /// Those of a directory's names that are its own.
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

/// Names of lists in a directory, each with the hour that it is of, if it is of one.
type Names = Vec<(String, Option<i64>)>;

/// The lists that some chunks have of some parts, how long each is, and what waited to be folded into it when that was read:
/// one round trip, or two where directories are needed.
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

/// The names in the directories of some chunks; none where there are too many.
async fn directories(
    store: &Partition,
    chunks: &[u64],
) -> Result<BTreeMap<u64, Option<BTreeSet<String>>>, StorageFailure> {
    let mut pipeline = Pipeline::with_capacity(chunks.len());
    for chunk in chunks {
        // A scan of a small hash gives all of it, and of a great one no more than was asked for.
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
