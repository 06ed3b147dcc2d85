//! A walk over the whole dictionary, which may grow meanwhile.

use std::collections::HashMap;

use domain::StorageFailure;
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    client::failure::unexpected_reply,
    engine::{keys::Digest, partition::Partition, state::State},
};

/// The value in the dictionary for the id of an erased event.
pub(crate) const ERASED: &str = "x";
/// The number of buckets that one round trip reads.
const BUCKETS_AT_ONCE: u32 = 256;

/// The meaning of a value in the dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Posted {
    /// The sequence of the event with this id.
    Id(u64),
    /// An id that is refused, because its event was erased.
    Erased,
    /// A value that this layout does not define.
    Unknown,
}

impl Posted {
    /// Parses a value.
    pub(crate) fn read(value: &[u8]) -> Self {
        if value == ERASED.as_bytes() {
            return Self::Erased;
        }
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| is_number);
        text.and_then(|text| text.parse().ok()).map_or(Self::Unknown, Self::Id)
    }
}

/// A walk over all buckets. It returns each field that exists during the whole walk exactly once, even if growth moves
/// the field.
#[derive(Debug)]
pub(crate) struct Scan {
    level: u32,
    split: u32,
    next: u32,
}

impl Scan {
    /// Returns a walk over the present buckets.
    pub(crate) fn of(state: &State) -> Self {
        Self { level: state.level, split: state.split, next: 0 }
    }

    /// Returns the fields of the next buckets. None at the end.
    pub(crate) async fn next(
        &mut self,
        store: &Partition,
    ) -> Result<Option<Vec<(Digest, Vec<u8>)>>, StorageFailure> {
        let end = (1 << self.level) + self.split;
        if self.next >= end {
            return Ok(None);
        }
        let homes: Vec<u32> = (self.next..end.min(self.next + BUCKETS_AT_ONCE)).collect();
        self.next += BUCKETS_AT_ONCE;
        let mut met = HashMap::new();
        let (mut level, mut split) = read_buckets(store, &homes, &mut met).await?;
        // A field that left its bucket before the read is in a bucket that was split from it. These buckets are read
        // last. A field that is found twice counts once.
        let mut reached = end;
        while (1 << level) + split > reached {
            let now = (1 << level) + split;
            let born: Vec<u32> = homes.iter().flat_map(|home| self.offspring(*home, reached, now)).collect();
            reached = now;
            if born.is_empty() {
                break;
            }
            (level, split) = read_buckets(store, &born, &mut met).await?;
        }
        let own = |digest: &Digest| homes.binary_search(&digest.bucket(self.level, self.split)).is_ok();
        Ok(Some(met.into_iter().filter(|(digest, _)| own(digest)).collect()))
    }

    /// Returns the buckets from `from` to `to` that take fields from a bucket of the walk.
    fn offspring(&self, home: u32, from: u32, to: u32) -> Vec<u32> {
        let is_split = home < self.split || home >= 1 << self.level;
        let step = 1u32 << if is_split { self.level + 1 } else { self.level };
        let first = home + step * (from.saturating_sub(home)).div_ceil(step).max(1);
        (first..to).step_by(step as usize).collect()
    }
}

/// Reads buckets into a map. Returns the level and split after the read.
async fn read_buckets(
    store: &Partition,
    buckets: &[u32],
    met: &mut HashMap<Digest, Vec<u8>>,
) -> Result<(u32, u32), StorageFailure> {
    let mut pipeline = Pipeline::with_capacity(buckets.len() + 1);
    for bucket in buckets {
        pipeline.cmd("HGETALL").arg(store.keys().bucket(*bucket));
    }
    pipeline.cmd("HMGET").arg(store.keys().meta()).arg(&["level", "split"][..]);
    let mut answers = store.link().read_all(&pipeline).await?;
    let now = answers.pop().ok_or_else(|| unexpected_reply("the dictionary"))?;
    for answer in answers {
        let fields: Vec<(Vec<u8>, Vec<u8>)> = match answer {
            Value::Nil => continue,
            answer => FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("a bucket"))?,
        };
        for (digest, value) in fields {
            let digest: [u8; 12] = digest.try_into().map_err(|_| unexpected_reply("a digest"))?;
            met.insert(Digest(digest), value);
        }
    }
    FromRedisValue::from_redis_value(now).map_err(|_| unexpected_reply("the dictionary"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    #[test]
    fn a_value_says_what_it_is() {
        for (value, posted) in [
            (&b"131072"[..], Posted::Id(131_072)),
            (b"x", Posted::Erased),
            (b"+", Posted::Unknown),
            (b"", Posted::Unknown),
            (b"abc", Posted::Unknown),
            (b"99999999999999999999999", Posted::Unknown),
        ] {
            assert_eq!(Posted::read(value), posted, "{value:?}");
        }
    }

    #[test]
    fn every_digest_of_a_grown_dictionary_is_at_home_or_in_an_offspring() {
        for (level, split) in [(3, 0), (3, 5), (4, 15)] {
            let scan = Scan { level, split, next: 0 };
            let end = (1 << level) + split;
            for (later, cut) in [(level, split + 1), (level + 1, 3), (level + 2, 7)] {
                for hash in 0..2_000u32 {
                    let mut bytes = [0; 12];
                    bytes[..4].copy_from_slice(&hash.wrapping_mul(2_654_435_761).to_be_bytes());
                    let digest = Digest(bytes);
                    let (home, now) = (digest.bucket(level, split), digest.bucket(later, cut));
                    let born = scan.offspring(home, end, (1 << later) + cut);
                    assert!(home == now || born.contains(&now), "{home} {now} {born:?}");
                }
            }
        }
    }
}
