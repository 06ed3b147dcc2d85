//! Counts of the events of the log, for an engine that stores such counts. The result adds the events that the engine
//! has not counted yet.

use std::sync::Arc;

use domain::{
    Filter, StorageFailure, Tally,
    ports::{
        Order,
        engine::{Scan, Space, SpaceKind},
    },
};
use futures_util::future::try_join_all;

use crate::{Store, partition::Partition};

/// The most events of one page.
const AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: u64 = 4 * 1024 * 1024;

impl Store {
    /// Returns the counts of all partitions together. Returns none when one partition has no counts.
    pub(crate) async fn tally(&self) -> Result<Option<Tally>, StorageFailure> {
        let mut all = Tally::default();
        for of_partition in try_join_all(self.partitions().map(tally)).await? {
            let Some(of_partition) = of_partition else { return Ok(None) };
            all.add_all(&of_partition);
        }
        Ok(Some(all))
    }
}

async fn tally(partition: Partition<'_>) -> Result<Option<Tally>, StorageFailure> {
    let rows = partition.all(Space::of(SpaceKind::Tally)).await?;
    let Some((mut tally, through)) = Tally::read(&rows) else { return Ok(None) };
    let everything = Arc::new(Filter::default());
    let mut after = Some(through);
    while after.is_some() {
        let scan = Scan {
            filter: &everything,
            order: Order::OldestFirst,
            after,
            until: None,
            limit: AT_ONCE,
            max_bytes: BYTES_AT_ONCE,
        };
        let page = partition.engine.scan(partition.number, &scan).await?;
        page.entries.iter().flatten().for_each(|stored| tally.add_event(&stored.event));
        after = page.next;
    }
    Ok(Some(tally))
}
