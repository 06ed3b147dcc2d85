//! The names of keys. The text of users stands in no key but encoded, so that no two texts share one.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    Event, StorageFailure,
    ports::engine::{Space, SpaceKind},
};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// Positions of one chunk of the log: a power of two. What is long lies in keys of a chunk each.
pub(crate) const CHUNK: u64 = 1 << 17;

/// The chunk that a sequence lies in.
pub(crate) fn chunk_of(sequence: u64) -> u64 {
    sequence / CHUNK
}

/// The hour that an instant lies in, counted from the Unix epoch.
pub(crate) fn hour_of(time: Timestamp) -> i64 {
    time.as_nanosecond().div_euclid(3_600_000_000_000) as i64
}

/// What many events share: its positions stand in a list a chunk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Long<'a> {
    /// A type.
    Type(&'a str),
    /// A source.
    Source(&'a str),
    /// An hour of the events' own timestamps.
    Hour(i64),
}

impl Long<'_> {
    /// Its name in the directory of a chunk, and the end of its key.
    pub(crate) fn field(&self) -> String {
        match self {
            Self::Type(text) => format!("t:{}", URL_SAFE_NO_PAD.encode(text)),
            Self::Source(text) => format!("s:{}", URL_SAFE_NO_PAD.encode(text)),
            Self::Hour(hour) => format!("h:{hour}"),
        }
    }

    /// The long terms of an event.
    pub(crate) fn of(event: &Event) -> [Long<'_>; 3] {
        [Long::Type(event.event_type()), Long::Source(event.source()), Long::Hour(hour_of(event.timestamp()))]
    }
}

/// What the dictionary of ids is looked up by: twelve bytes of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(pub(crate) [u8; 12]);

impl Digest {
    /// Of an event's id.
    pub(crate) fn of_id(id: &str) -> Self {
        Self(digest(b'i', id, ""))
    }

    /// The bucket it falls to in a dictionary of `2^level + split` buckets.
    pub(crate) fn bucket(self, level: u32, split: u32) -> u32 {
        let [a, b, c, d, ..] = self.0;
        let hash = u64::from(u32::from_be_bytes([a, b, c, d]));
        let bucket = hash & ((1 << level) - 1);
        let bucket = if bucket < u64::from(split) { hash & ((1 << (level + 1)) - 1) } else { bucket };
        bucket as u32
    }
}

/// What runs are looked up by, for a correlation id or an entity: eight bytes of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Term(pub(crate) [u8; 8]);

impl Term {
    /// Of a correlation id.
    pub(crate) fn of_correlation(id: &str) -> Self {
        Self(digest(b'c', id, ""))
    }

    /// Of an entity.
    pub(crate) fn of_entity(kind: &str, id: &str) -> Self {
        Self(digest(b'e', kind, id))
    }

    /// The terms of an event, sorted, each once: two kinds of entity could be spelled alike.
    pub(crate) fn of(event: &Event) -> Vec<Self> {
        let mut terms = Vec::with_capacity(4);
        terms.extend(event.correlation_id().map(Self::of_correlation));
        terms.extend(event.entities().map(|(kind, id)| Self::of_entity(kind, id)));
        terms.sort_unstable();
        terms.dedup();
        terms
    }

    /// Its name in the directory of a chunk where it has a list, and the end of that list's key.
    pub(crate) fn field(self) -> String {
        format!("e:{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    /// The term of a name in a directory; none where it is no term's.
    pub(crate) fn of_field(field: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(field.strip_prefix("e:")?).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Its first `bits` bits, as a number.
    pub(crate) fn fence(self, bits: u8) -> usize {
        let [a, b, c, d, ..] = self.0;
        let top = u64::from(u32::from_be_bytes([a, b, c, d]));
        (top >> (32 - u32::from(bits.min(32)))) as usize
    }
}

/// The first bytes of a SHA-256 of a tag and two texts.
fn digest<const N: usize>(tag: u8, one: &str, other: &str) -> [u8; N] {
    let mut hash = Sha256::new();
    hash.update([tag]);
    hash.update((one.len() as u32).to_le_bytes());
    hash.update(one);
    hash.update(other);
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    bytes
}

/// The keys of one partition of a namespace.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    /// The keys of a hash tag ([`crate::engine::tags::tag`]). The name of the namespace stands in it as it is:
    /// [`Keys::check_namespace`] says which may be.
    pub(crate) fn new(tag: &str) -> Self {
        Self { prefix: format!("{{{tag}}}:") }
    }

    /// Refuses names that would not stand in a key as they are.
    pub(crate) fn check_namespace(namespace: &str) -> Result<(), StorageFailure> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=64).contains(&namespace.len()) && namespace.chars().all(plain) {
            return Ok(());
        }
        Err(StorageFailure::Foreign(format!(
            "the namespace {namespace:?} is no name on Redis: use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"
        )))
    }

    /// A key of a name that is ours alone.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The rows of a space. The scope is encoded, whatever is in it.
    pub(crate) fn space(&self, space: &Space) -> String {
        let kind = space.kind.name();
        match space.scope.as_slice() {
            [] => format!("{}r:{kind}", self.prefix),
            scope => format!("{}r:{kind}:{}", self.prefix, URL_SAFE_NO_PAD.encode(scope)),
        }
    }

    /// The scope that a key's rows have, where it is a key of rows of this kind.
    pub(crate) fn scope_in(&self, key: &str, kind: SpaceKind) -> Option<Vec<u8>> {
        let (name, scope) = match key.strip_prefix(&self.prefix)?.strip_prefix("r:")?.split_once(':') {
            Some(parts) => parts,
            None => (key.strip_prefix(&self.prefix)?.strip_prefix("r:")?, ""),
        };
        if name == kind.name() { URL_SAFE_NO_PAD.decode(scope).ok() } else { None }
    }

    /// The partition's state.
    pub(crate) fn meta(&self) -> String {
        self.named("meta")
    }

    /// The channel that reports appends.
    pub(crate) fn bell(&self) -> String {
        self.named("bell")
    }

    /// The numbers of the chunks that the log has.
    pub(crate) fn chunks(&self) -> String {
        self.named("chunks")
    }

    /// The events of a chunk.
    pub(crate) fn log(&self, chunk: u64) -> String {
        format!("{}log:{chunk}", self.prefix)
    }

    /// What the keys of the log and of replay counts begin with, before the number of a chunk.
    pub(crate) fn before_chunks(&self) -> [String; 2] {
        [self.named("log:"), self.named("replayed:")]
    }

    /// How many events were removed from the midst of a chunk, by its number.
    pub(crate) fn holes(&self) -> String {
        self.named("holes")
    }

    /// The chunks that still have bytes of erased events.
    pub(crate) fn unscrubbed(&self) -> String {
        self.named("unscrubbed")
    }

    /// The copy of a chunk that is being rewritten.
    pub(crate) fn copy_of(&self, chunk: u64) -> String {
        format!("{}copy:{chunk}", self.prefix)
    }

    /// Which long terms a chunk has.
    pub(crate) fn directory(&self, chunk: u64) -> String {
        format!("{}dir:{chunk}", self.prefix)
    }

    /// The positions of a long term in a chunk, by its name in the directory.
    pub(crate) fn long(&self, chunk: u64, field: &str) -> String {
        format!("{}ix:{chunk}:{field}", self.prefix)
    }

    /// A bucket of the dictionary.
    pub(crate) fn bucket(&self, number: u32) -> String {
        format!("{}d:{number}", self.prefix)
    }

    /// The terms of the newest events, which wait to be folded into the index.
    pub(crate) fn pending(&self) -> String {
        self.named("pending")
    }

    /// Which runs there are.
    pub(crate) fn manifest(&self) -> String {
        self.named("runs")
    }

    /// A run: the terms of the events behind a sequence, through another.
    pub(crate) fn run(&self, base: u64, through: u64) -> String {
        format!("{}{base}-{through}", self.before_runs())
    }

    /// What the keys of runs begin with.
    pub(crate) fn before_runs(&self) -> String {
        self.named("run:")
    }

    /// Replay counts of a chunk's events.
    pub(crate) fn replayed(&self, chunk: u64) -> String {
        format!("{}replayed:{chunk}", self.prefix)
    }
}
