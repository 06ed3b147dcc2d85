//! Counts the events that match a filter. It uses the counters of the store if the filter matches all events, else a
//! scan.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use domain::{
    Cursor, Figure, Filter, Tally,
    ports::{Order, StoreInfo, event_store::ProgressCallback},
};
use jiff::Timestamp;

use crate::{
    app::{bounds::Bounds, error::AppError, walk::EventWalk},
    handle::StoreHandle,
};

/// The largest number of labels of a figure. It bounds the size of the answer.
const MOST_LABELS: usize = 10_000;
/// The label of the remaining values.
const OTHER: &str = "(other)";

/// The result of a count.
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
    /// Counts the events up to the head in `info`.
    pub(super) async fn of(
        store: &StoreHandle,
        info: &StoreInfo,
        filter: Filter,
        bounds: &Bounds,
        progress: Option<&ProgressCallback>,
    ) -> Result<Self, AppError> {
        if filter.is_everything()
            && bounds.is_empty()
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
        scan(store, info, filter, bounds, progress).await
    }

    /// Returns the counts by one figure. Beyond [`MOST_LABELS`] labels, the smallest counts are added up under
    /// `(other)`.
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

/// Returns the timestamp of the first event in an order. Damaged events are skipped.
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
    bounds: &Bounds,
    progress: Option<&ProgressCallback>,
) -> Result<Counted, AppError> {
    let reached = |cursor: &Cursor| cursor.sequences.iter().fold(0, |sum: u64, at| sum.saturating_add(*at));
    let total = reached(&info.head);
    let events: Arc<_> = store.ports().clone();
    let walk = EventWalk::new(events, filter, Order::OldestFirst, None).until(Some(info.head.clone()));
    let mut walk = walk.within(bounds);
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
