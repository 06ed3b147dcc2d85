//! Reads indexes and logs one page at a time.

use std::sync::Arc;

use domain::{
    Filter, StorageFailure,
    ports::{
        Order,
        engine::{Entry, Read, Scan, Space},
    },
};

use crate::partition::Partition;

/// The keys of several indexes as one ordered list.
pub(crate) struct IndexPages<'s> {
    partition: Partition<'s>,
    indexes: Vec<Space>,
    /// The most keys that one read returns of one index.
    page: usize,
    after: Option<Vec<u8>>,
}

impl<'s> IndexPages<'s> {
    /// Starts at the first key.
    pub(crate) fn new(partition: Partition<'s>, indexes: Vec<Space>, page: usize) -> Self {
        Self { partition, indexes, page: page.max(1), after: None }
    }

    /// Starts after a key (exclusive).
    pub(crate) fn after(self, after: Option<Vec<u8>>) -> Self {
        Self { after, ..self }
    }

    /// Returns the next keys, up to the last key that all indexes have been read to. Returns none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, StorageFailure> {
        let read = |space: &Space| Read::Range {
            space: space.clone(),
            after: self.after.clone(),
            before: None,
            reverse: false,
            limit: self.page,
        };
        let mut found = self.partition.get(&self.indexes.iter().map(read).collect::<Vec<_>>()).await?;
        let (mut keys, mut known): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
        for _ in &self.indexes {
            let page: Vec<Vec<u8>> = found.range().into_iter().map(|(key, _)| key).collect();
            if page.len() == self.page
                && let Some(last) = page.last()
                && known.as_ref().is_none_or(|known| last < known)
            {
                known = Some(last.clone());
            }
            keys.extend(page);
        }
        keys.retain(|key| known.as_ref().is_none_or(|known| key <= known));
        keys.sort_unstable();
        keys.dedup();
        let Some(last) = keys.last() else { return Ok(None) };
        self.after = Some(last.clone());
        Ok(Some(keys))
    }
}

/// The most bytes of events that one page of a log returns.
const BYTES_AT_ONCE: u64 = 4 * 1024 * 1024;

/// The matching events of one partition, oldest first.
pub(crate) struct LogPages<'s> {
    partition: Partition<'s>,
    filter: Arc<Filter>,
    until: Option<u64>,
    /// The most events that one read returns.
    page: usize,
    after: Option<u64>,
    is_over: bool,
}

impl<'s> LogPages<'s> {
    /// Starts at the oldest event.
    pub(crate) fn new(
        partition: Partition<'s>,
        filter: Arc<Filter>,
        until: Option<u64>,
        page: usize,
    ) -> Self {
        Self { partition, filter, until, page, after: None, is_over: false }
    }

    /// Returns the next events. A page may be empty before the end of the log. Returns none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Entry>>, StorageFailure> {
        if self.is_over {
            return Ok(None);
        }
        let request = Scan {
            filter: &self.filter,
            order: Order::OldestFirst,
            after: self.after,
            until: self.until,
            limit: self.page,
            max_bytes: BYTES_AT_ONCE,
        };
        let page = self.partition.scan(&request).await?;
        self.after = page.next;
        self.is_over = page.next.is_none();
        Ok(Some(page.entries))
    }
}
