//! Comparing counts, key by key.

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

/// Counts that are on their way at once.
const AT_ONCE: usize = 16;

/// What was compared so far.
#[derive(Default)]
pub(crate) struct Compared {
    /// Keys and those that are equal, for each of [`IndexKind::ALL`].
    tallies: [(u64, u64); IndexKind::ALL.len()],
    pub(crate) keys: u64,
}

impl Compared {
    /// Compares what the source counts with what the target counts; the keys that differ, each with its place in `keys`.
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

    /// Notes how many keys of each index were compared.
    pub(crate) fn tell(self, report: &mut Report) {
        let tallies = IndexKind::ALL.into_iter().zip(self.tallies);
        report.indexes = tallies.map(|(index, (keys, equal))| IndexTally { index, keys, equal }).collect();
    }
}

/// How many events of a log, up to a mark or its head, each of these keys should list.
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

/// Which keys were seen. Keeps 8 bytes of each: that two of millions are taken for one is a matter of one chance in a
/// million, and would leave one key uncompared.
pub(crate) struct Seen {
    hasher: RandomState,
    digests: HashSet<u64>,
}

impl Seen {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), digests: HashSet::new() }
    }

    /// Whether a key is seen for the first time.
    pub(crate) fn is_new(&mut self, key: &IndexKey) -> bool {
        self.digests.insert(self.hasher.hash_one(key))
    }
}
