//! The events that retention considers, oldest first.

use std::sync::Arc;

use domain::{
    Filter, StorageFailure,
    ports::engine::{Entry, log::stored_at},
};
use futures_util::future::try_join_all;

use crate::{merge::Merge, pages::LogPages, partition::Partition};

/// The events of one partition that retention may remove, oldest first.
pub(super) struct Candidates<'s> {
    pages: LogPages<'s>,
    /// Whether damaged events go too. The type of a damaged event is unknown, so only a rule for all types removes it.
    with_damaged: bool,
}

impl<'s> Candidates<'s> {
    pub(super) fn new(partition: Partition<'s>, filter: &Arc<Filter>, until: u64, at_once: usize) -> Self {
        let pages = LogPages::new(partition, filter.clone(), Some(until), at_once);
        Self { pages, with_damaged: filter.is_everything() }
    }

    /// Returns the next events. Returns none at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Entry>>, StorageFailure> {
        while let Some(mut entries) = self.pages.next().await? {
            entries.retain(|entry| entry.is_ok() || self.with_damaged);
            if !entries.is_empty() {
                return Ok(Some(entries));
            }
        }
        Ok(None)
    }
}

/// The candidates of all partitions, oldest first.
pub(super) struct Merged<'s> {
    walks: Vec<Candidates<'s>>,
    merge: Merge<Entry>,
}

impl<'s> Merged<'s> {
    pub(super) fn new(walks: Vec<Candidates<'s>>) -> Self {
        Self { merge: Merge::new(walks.len()), walks }
    }

    pub(super) async fn next(&mut self) -> Result<Option<(usize, Entry)>, StorageFailure> {
        loop {
            if let Some(found) = self.merge.take_first(stored_at) {
                return Ok(Some(found));
            }
            let hungry = self.merge.hungry();
            if hungry.is_empty() {
                return Ok(None);
            }
            let asked = self.walks.iter_mut().enumerate().filter(|(at, _)| hungry.contains(at));
            let pages = try_join_all(asked.map(|(_, walk)| walk.next())).await?;
            for (at, page) in hungry.into_iter().zip(pages) {
                let ended = page.is_none();
                self.merge.put(at, page.unwrap_or_default(), ended);
            }
        }
    }

    /// Stops reading the candidates of a partition.
    pub(super) fn end(&mut self, of: usize) {
        self.merge.end(of);
    }
}
