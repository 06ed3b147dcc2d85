//! Compares the counts of events, key by key.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use domain::{
    Cursor,
    ports::{EventStore, EventStoreError},
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    differences,
    index::{IndexKey, IndexKind},
    report::{Difference, IndexTally, Report},
    retry::repeated,
};

/// The number of concurrent counts.
const AT_ONCE: usize = 16;

/// The result of the comparison so far.
#[derive(Default)]
pub(crate) struct Compared {
    /// The number of compared keys and of equal keys, for each of [`IndexKind::ALL`].
    tallies: [(u64, u64); IndexKind::ALL.len()],
    pub(crate) keys: u64,
}

impl Compared {
    /// Compares the source's counts with the target's counts. Returns the differences, each with its index in `keys`.
    pub(crate) async fn compare(
        &mut self,
        target: &dyn EventStore,
        keys: &[(IndexKey, u64)],
    ) -> Result<Vec<(usize, Difference)>, EventStoreError> {
        let counts: Vec<u64> = counts(target, keys.iter().map(|(key, _)| key), None).await?;
        let mut different = Vec::new();
        for (at, ((key, source), target)) in keys.iter().zip(counts).enumerate() {
            self.keys += 1;
            if let Some((keys, equal)) = self.tallies.get_mut(key.kind as usize) {
                *keys += 1;
                *equal += u64::from(*source == target);
            }
            if *source != target {
                different.push((at, differences::bare(key, *source, target)));
            }
        }
        Ok(different)
    }

    /// Writes the number of compared and equal keys of each index into the report.
    pub(crate) fn tell(self, report: &mut Report) {
        let tallies = IndexKind::ALL.into_iter().zip(self.tallies);
        report.indexes = tallies.map(|(index, (keys, equal))| IndexTally { index, keys, equal }).collect();
    }
}

/// Returns, for each key, the number of matching events in a log up to a mark, or up to the head.
pub(crate) async fn counts<'k>(
    log: &dyn EventStore,
    keys: impl Iterator<Item = &'k IndexKey>,
    until: Option<&Cursor>,
) -> Result<Vec<u64>, EventStoreError> {
    let filters: Vec<_> = keys.map(|key| Arc::new(key.filter())).collect();
    stream::iter(filters)
        .map(|filter| async move { repeated(|| log.count(&filter, until)).await })
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

/// The set of keys already seen. It keeps 8 bytes of each key. With millions of keys, two of them are equal in these
/// bytes with a chance of one in a million. One key would then not be compared.
pub(crate) struct Seen {
    hasher: RandomState,
    digests: HashSet<u64>,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), digests: HashSet::new() }
    }

    /// Returns whether a key is seen for the first time.
    pub(crate) fn is_new(&mut self, key: &IndexKey) -> bool {
        self.digests.insert(self.hasher.hash_one(key))
    }
}
