//! The names of keys. Text of users is always encoded in a key, so that two different texts never share a key.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    Event, StorageFailure,
    ports::engine::{Space, SpaceKind},
};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// The number of positions of one chunk of the log, a power of two. Long data has one key for each chunk.
pub(crate) const CHUNK: u64 = 1 << 17;

/// Returns the chunk of a sequence.
pub(crate) fn chunk_of(sequence: u64) -> u64 {
    sequence / CHUNK
}

/// Returns the hour of an instant, counted from the Unix epoch.
pub(crate) fn hour_of(time: Timestamp) -> i64 {
    time.as_nanosecond().div_euclid(3_600_000_000_000) as i64
}

/// A term that many events share. Its positions are in one list for each chunk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Long<'a> {
    /// An event type.
    Type(&'a str),
    /// A source.
    Source(&'a str),
    /// An hour of the events' own timestamps.
    Hour(i64),
}

impl Long<'_> {
    /// Returns its name in the directory of a chunk, which is also the end of its key.
    pub(crate) fn field(&self) -> String {
        match self {
            Self::Type(text) => format!("t:{}", URL_SAFE_NO_PAD.encode(text)),
            Self::Source(text) => format!("s:{}", URL_SAFE_NO_PAD.encode(text)),
            Self::Hour(hour) => format!("h:{hour}"),
        }
    }

    /// Returns the long terms of an event.
    pub(crate) fn of(event: &Event) -> [Long<'_>; 3] {
        [Long::Type(event.event_type()), Long::Source(event.source()), Long::Hour(hour_of(event.timestamp()))]
    }
}

/// The key of the dictionary of ids: twelve bytes of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(pub(crate) [u8; 12]);

impl Digest {
    /// Returns the digest of an event's id.
    pub(crate) fn of_id(id: &str) -> Self {
        Self(digest(b'i', id, ""))
    }

    /// Returns the bucket of the digest, in a dictionary of `2^level + split` buckets.
    pub(crate) fn bucket(self, level: u32, split: u32) -> u32 {
        let [a, b, c, d, ..] = self.0;
        let hash = u64::from(u32::from_be_bytes([a, b, c, d]));
        let bucket = hash & ((1 << level) - 1);
        let bucket = if bucket < u64::from(split) { hash & ((1 << (level + 1)) - 1) } else { bucket };
        bucket as u32
    }
}

/// The key of runs, for a correlation id or an entity: eight bytes of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Term(pub(crate) [u8; 8]);

impl Term {
    /// Returns the term of a correlation id.
    pub(crate) fn of_correlation(id: &str) -> Self {
        Self(digest(b'c', id, ""))
    }

    /// Returns the term of an entity.
    pub(crate) fn of_entity(kind: &str, id: &str) -> Self {
        Self(digest(b'e', kind, id))
    }

    /// Returns the terms of an event, sorted and without duplicates. Two different members could give equal terms.
    pub(crate) fn of(event: &Event) -> Vec<Self> {
        let mut terms = Vec::with_capacity(4);
        terms.extend(event.correlation_id().map(Self::of_correlation));
        terms.extend(event.entities().map(|(kind, id)| Self::of_entity(kind, id)));
        terms.sort_unstable();
        terms.dedup();
        terms
    }

    /// Returns its name in the directory of a chunk where it has a list. The name is also the end of that list's key.
    pub(crate) fn field(self) -> String {
        format!("e:{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    /// Parses a name in a directory. None if it is not the name of a term.
    pub(crate) fn of_field(field: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(field.strip_prefix("e:")?).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// Returns its first `bits` bits, as a number.
    pub(crate) fn fence(self, bits: u8) -> usize {
        let [a, b, c, d, ..] = self.0;
        let top = u64::from(u32::from_be_bytes([a, b, c, d]));
        (top >> (32 - u32::from(bits.min(32)))) as usize
    }
}

/// Returns the first bytes of the SHA-256 of a tag and two texts.
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
    /// Returns the keys with a hash tag ([`crate::engine::tags::tag`]). The tag contains the name of the namespace
    /// unencoded. [`Keys::check_namespace`] checks which names are allowed.
    pub(crate) fn new(tag: &str) -> Self {
        Self { prefix: format!("{{{tag}}}:") }
    }

    /// Refuses names that a key could not contain unencoded.
    pub(crate) fn check_namespace(namespace: &str) -> Result<(), StorageFailure> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if (1..=64).contains(&namespace.len()) && namespace.chars().all(plain) {
            return Ok(());
        }
        Err(StorageFailure::Foreign(format!(
            "the namespace {namespace:?} is no name on Redis: use 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"
        )))
    }

    /// Returns a key with a name that this adapter has chosen.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Returns the key of the rows of a space. The scope is always encoded.
    pub(crate) fn space(&self, space: &Space) -> String {
        let kind = space.kind.name();
        match space.scope.as_slice() {
            [] => format!("{}r:{kind}", self.prefix),
            scope => format!("{}r:{kind}:{}", self.prefix, URL_SAFE_NO_PAD.encode(scope)),
        }
    }

    /// Returns the scope of a key, if the key has rows of this kind.
    pub(crate) fn scope_in(&self, key: &str, kind: SpaceKind) -> Option<Vec<u8>> {
        let (name, scope) = match key.strip_prefix(&self.prefix)?.strip_prefix("r:")?.split_once(':') {
            Some(parts) => parts,
            None => (key.strip_prefix(&self.prefix)?.strip_prefix("r:")?, ""),
        };
        if name == kind.name() { URL_SAFE_NO_PAD.decode(scope).ok() } else { None }
    }

    /// The state of the partition.
    pub(crate) fn meta(&self) -> String {
        self.named("meta")
    }

    /// The channel for notifications of appends.
    pub(crate) fn bell(&self) -> String {
        self.named("bell")
    }

    /// The numbers of the chunks of the log.
    pub(crate) fn chunks(&self) -> String {
        self.named("chunks")
    }

    /// The events of a chunk.
    pub(crate) fn log(&self, chunk: u64) -> String {
        format!("{}log:{chunk}", self.prefix)
    }

    /// The prefixes of the keys of the log and of replay counts, before the number of a chunk.
    pub(crate) fn before_chunks(&self) -> [String; 2] {
        [self.named("log:"), self.named("replayed:")]
    }

    /// How many events were removed from inside each chunk, by its number.
    pub(crate) fn holes(&self) -> String {
        self.named("holes")
    }

    /// The chunks that still have bytes of erased events.
    pub(crate) fn unscrubbed(&self) -> String {
        self.named("unscrubbed")
    }

    /// The copy of a chunk during a rewrite.
    pub(crate) fn copy_of(&self, chunk: u64) -> String {
        format!("{}copy:{chunk}", self.prefix)
    }

    /// The long terms of a chunk.
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

    /// The pending terms of the newest events, which are not folded yet.
    pub(crate) fn pending(&self) -> String {
        self.named("pending")
    }

    /// The list of all runs.
    pub(crate) fn manifest(&self) -> String {
        self.named("runs")
    }

    /// A run: the terms of the events after `base`, up to and including `through`.
    pub(crate) fn run(&self, base: u64, through: u64) -> String {
        format!("{}{base}-{through}", self.before_runs())
    }

    /// The prefix of the keys of runs.
    pub(crate) fn before_runs(&self) -> String {
        self.named("run:")
    }

    /// The replay counts of a chunk's events.
    pub(crate) fn replayed(&self, chunk: u64) -> String {
        format!("{}replayed:{chunk}", self.prefix)
    }
}
