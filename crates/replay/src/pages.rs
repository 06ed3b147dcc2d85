//! Reads a slice of the log page by page, in bounded memory.

use std::sync::Arc;

use domain::{
    Cursor, Filter,
    ports::{EventStore, EventStoreError, Order, Page, ReadRequest},
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::backoff::repeated;

/// The target size of a page in bytes. The size of the events in the last page sets the number of events in the next
/// page. Otherwise a slice of large events would take a thousand times the memory of a slice of small events.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;
const FIRST_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// The matches of a filter after one mark and up to another, oldest first. Reads are retried after temporary failures.
pub(crate) struct Pages {
    events: Arc<dyn EventStore>,
    request: ReadRequest,
    done: bool,
}

impl Pages {
    pub(crate) fn new(
        events: Arc<dyn EventStore>,
        filter: Arc<Filter>,
        after: Option<Cursor>,
        until: Cursor,
    ) -> Self {
        let request =
            ReadRequest { filter, order: Order::OldestFirst, after, until: Some(until), limit: FIRST_PAGE };
        Self { events, request, done: false }
    }

    /// Returns the next page, with at most `most` events. Returns none at the end.
    pub(crate) async fn next(&mut self, most: Option<u64>) -> Result<Option<Page>, EventStoreError> {
        if self.done || most == Some(0) {
            return Ok(None);
        }
        let mut request = self.request.clone();
        if let Some(most) = most.and_then(|most| usize::try_from(most).ok()) {
            request.limit = request.limit.min(most);
        }
        let page = repeated(|| self.events.read(&request)).await?;
        self.request.limit = next_limit(&page).unwrap_or(self.request.limit);
        self.request.after.clone_from(&page.next);
        self.done = page.next.is_none();
        Ok(Some(page))
    }
}

fn next_limit(page: &Page) -> Option<usize> {
    let bytes: u64 = page.events.iter().map(|stored| stored.event.size_bytes() as u64).sum();
    let average = bytes.checked_div(page.events.len() as u64)?.max(1);
    Some(usize::try_from(PAGE_BYTES / average).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE))
}

/// A task that reads one page ahead, so that the read and the delivery do not wait for each other. The task ends when
/// this is dropped.
pub(crate) struct ReadAhead {
    pages: mpsc::Receiver<Result<Page, EventStoreError>>,
    _task: JoinSet<()>,
}

impl ReadAhead {
    /// Starts the read of `pages`. None gives no page.
    pub(crate) fn new(pages: Option<Pages>) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let mut task = JoinSet::new();
        if let Some(pages) = pages {
            task.spawn(read_ahead(pages, sender));
        }
        Self { pages: receiver, _task: task }
    }

    /// Returns the next page. Returns none at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Result<Page, EventStoreError>> {
        self.pages.recv().await
    }
}

async fn read_ahead(mut pages: Pages, sender: mpsc::Sender<Result<Page, EventStoreError>>) {
    while let Some(page) = pages.next(None).await.transpose() {
        let failed = page.is_err();
        // A closed channel means that the reader was dropped.
        if sender.send(page).await.is_err() || failed {
            return;
        }
    }
}
