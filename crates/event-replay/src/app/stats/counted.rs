//! Events that a filter selects, counted: by the counters of the store where it selects all, else by a scan.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use domain::{
    Cursor, Figure, Filter, Tally,
    ports::{Order, StoreInfo, event_store::ProgressCallback},
};
use jiff::Timestamp;

use crate::{
    app::{error::AppError, walk::EventWalk},
    handle::StoreHandle,
};

/// Most labels that a figure distinguishes: an answer is small, whatever it counts.
const MOST_LABELS: usize = 10_000;
/// The label of the others.
const OTHER: &str = "(other)";

/// What was counted.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) oldest: Option<Timestamp>,
    pub(super) newest: Option<Timestamp>,
    pub(super) corrupt: u64,
    tally: Tally,
}

impl Counted {
    /// Counts up to the head that the store had when `info` was read.
    pub(super) async fn of(
        store: &StoreHandle,
        info: &StoreInfo,
        filter: Filter,
        progress: Option<&ProgressCallback>,
    ) -> Result<Self, AppError> {
        if filter.is_everything()
            && let Some(tally) = store.event_counts().await?
        {
            return Ok(Self {
                events: info.events,
                bytes: info.bytes,
                oldest: end(store, info, Order::OldestFirst).await?,
                newest: end(store, info, Order::NewestFirst).await?,
                corrupt: 0,
                tally,
            });
        }
        scan(store, info, filter, progress).await
    }

    /// The counts by one figure. Where there are very many, the small ones are summed up.
    pub(super) fn by(&self, figure: Figure) -> BTreeMap<String, u64> {
        let mut counts: Vec<(String, u64)> = self.tally.by(figure).into_iter().collect();
        if counts.len() > MOST_LABELS {
            counts.sort_by_key(|(_, count)| Reverse(*count));
            let others = counts.split_off(MOST_LABELS).iter().map(|(_, count)| count).sum();
            counts.push((OTHER.to_owned(), others));
        }
        counts.into_iter().collect()
    }
}

/// The timestamp of the first event in an order. Damaged events are passed over.
async fn end(store: &StoreHandle, info: &StoreInfo, order: Order) -> Result<Option<Timestamp>, AppError> {
    let events = store.ports().clone();
    let mut walk = EventWalk::new(events, Filter::default(), order, Some(1)).until(Some(info.head.clone()));
    while let Some(page) = walk.page().await? {
        if let Some(first) = page.events.first() {
            return Ok(Some(first.event.timestamp()));
        }
    }
    Ok(None)
}

async fn scan(
    store: &StoreHandle,
    info: &StoreInfo,
    filter: Filter,
    progress: Option<&ProgressCallback>,
) -> Result<Counted, AppError> {
    let reached = |cursor: &Cursor| cursor.sequences.iter().fold(0, |sum: u64, at| sum.saturating_add(*at));
    let total = reached(&info.head);
    let events: Arc<_> = store.ports().clone();
    let mut walk = EventWalk::new(events, filter, Order::OldestFirst, None).until(Some(info.head.clone()));
    let mut counted = Counted::default();
    while let Some(page) = walk.page().await? {
        for stored in &page.events {
            counted.events += 1;
            counted.bytes += stored.event.size_bytes() as u64;
            counted.tally.add_event(&stored.event);
            let at = stored.event.timestamp();
            counted.oldest.get_or_insert(at);
            counted.newest = Some(at);
        }
        if let Some(progress) = progress {
            progress(walk.next_cursor().map_or(total, reached).min(total), total);
        }
    }
    counted.corrupt = walk.corrupt();
    Ok(counted)
}
