//! Checks that an id is in one partition only. The ordering key of an event selects its partition. A publisher that
//! changes the ordering key of an event causes a second copy.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use domain::{Position, StorageFailure, ports::VerifyReport};

use crate::{Store, pages::LogPages, partition::Partition};

/// The bits of the filter for each event, and the most bits of the filter (32 MiB). In a larger log the filter reports
/// more ids that must be looked up without a result.
const BITS_AN_EVENT: u64 = 16;
const MOST_BITS: u64 = 1 << 28;
/// The most events of one read.
const READ_AT_ONCE: usize = 500;

/// Checks the ids of all partitions.
pub(super) async fn check(
    store: &Store,
    events: u64,
    report: &mut VerifyReport,
) -> Result<(), StorageFailure> {
    let mut met = Met::new(events);
    for partition in store.partitions() {
        let mut pages = LogPages::new(partition, Arc::default(), None, READ_AT_ONCE);
        while let Some(page) = pages.next().await? {
            for stored in page.iter().flatten().filter(|stored| met.again(stored.event.id())) {
                let (id, sequence) = (stored.event.id(), stored.position.sequence);
                report_others(store, partition, sequence, id, report).await?;
            }
        }
    }
    Ok(())
}

/// Reports an event whose id another partition also has. The finding is reported once, by the second partition that has
/// the id.
async fn report_others(
    store: &Store,
    partition: Partition<'_>,
    sequence: u64,
    id: &str,
    report: &mut VerifyReport,
) -> Result<(), StorageFailure> {
    let mut others = Vec::new();
    for other in store.partitions().filter(|other| other.number != partition.number) {
        if let Some((_, Some(Ok(stored)))) = other.entries_of(&[id]).await?.pop()
            && stored.event.id() == id
        {
            others.push(stored.position);
        }
    }
    if others.iter().filter(|other| other.partition < partition.number).count() == 1 {
        let others: Vec<String> = others.iter().map(Position::to_string).collect();
        let detail = format!("its id {id:?} is that of another event, too: {}", others.join(", "));
        report.add(Some(Position::new(partition.number, sequence)), detail);
    }
    Ok(())
}

/// The ids that were read, as a Bloom filter. Only a negative answer is certain.
struct Met {
    bits: Vec<u64>,
    hashers: [RandomState; 2],
}

impl Met {
    /// Creates a filter for `events` events.
    fn new(events: u64) -> Self {
        let bits = (events * BITS_AN_EVENT).clamp(1 << 16, MOST_BITS);
        Self { bits: vec![0; bits.div_ceil(64) as usize], hashers: [RandomState::new(), RandomState::new()] }
    }

    /// Returns whether an id may have been read before, and adds the id.
    fn again(&mut self, id: &str) -> bool {
        let mut known = true;
        for hasher in &self.hashers {
            let bit = hasher.hash_one(id) % (64 * self.bits.len() as u64);
            if let Some(word) = self.bits.get_mut((bit / 64) as usize) {
                known &= *word & (1 << (bit % 64)) != 0;
                *word |= 1 << (bit % 64);
            }
        }
        known
    }
}
