//! Reading a slice of the log page by page, with the next page on its way while one is being used.

use std::sync::Arc;

use domain::{
    Cursor, Filter, StorageFailure,
    ports::{EventStore, EventStoreError, Order, Page, ReadRequest},
};
use tokio::task::JoinHandle;

use super::error::AppError;

/// Events of one page: enough to be quick, few enough to be little memory.
const PAGE: u64 = 1000;

/// A walk over matching events. Bounded in memory whatever the number of events.
pub struct EventWalk {
    store: Arc<dyn EventStore>,
    request: ReadRequest,
    left: Option<u64>,
    /// Where a later walk goes on.
    next: Option<Cursor>,
    coming: Option<JoinHandle<Result<Page, EventStoreError>>>,
    done: bool,
    corrupt: u64,
}

impl EventWalk {
    /// A walk of at most `limit` events.
    pub fn new(store: Arc<dyn EventStore>, filter: Filter, order: Order, limit: Option<u64>) -> Self {
        let request = ReadRequest { filter: Arc::new(filter), order, after: None, until: None, limit: 0 };
        Self { store, request, left: limit, next: None, coming: None, done: false, corrupt: 0 }
    }

    /// Starts after a cursor.
    #[must_use]
    pub fn after(mut self, after: Option<Cursor>) -> Self {
        self.request.after = after;
        self
    }

    /// Ends at a mark.
    #[must_use]
    pub fn until(mut self, until: Option<Cursor>) -> Self {
        self.request.until = until;
        self
    }

    /// Whether no page is left.
    pub fn is_over(&self) -> bool {
        self.done
    }

    /// The next page, which may be empty; none at the end.
    ///
    /// # Errors
    /// When the cursor is not of this log, or the store fails.
    pub async fn page(&mut self) -> Result<Option<Page>, AppError> {
        if self.done {
            return Ok(None);
        }
        let coming = match self.coming.take() {
            Some(coming) => coming,
            None => self.ask(),
        };
        let page =
            coming.await.map_err(|lost| StorageFailure::Other(format!("reading ended early: {lost}")))??;
        tracing::debug!(events = page.events.len(), damaged = page.corrupt.len(), "read a page of the log");
        self.corrupt += page.corrupt.len() as u64;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(page.events.len() as u64);
        }
        self.next.clone_from(&page.next);
        match &page.next {
            Some(next) if self.left != Some(0) => {
                self.request.after = Some(next.clone());
                self.coming = Some(self.ask());
            }
            _ => self.done = true,
        }
        Ok(Some(page))
    }

    /// Where a later walk goes on; none if there is nothing left.
    pub fn next_cursor(&self) -> Option<&Cursor> {
        self.next.as_ref()
    }

    /// Events that could not be read.
    pub fn corrupt(&self) -> u64 {
        self.corrupt
    }

    fn ask(&mut self) -> JoinHandle<Result<Page, EventStoreError>> {
        self.request.limit = self.left.map_or(PAGE, |left| left.min(PAGE)) as usize;
        let (store, request) = (Arc::clone(&self.store), self.request.clone());
        tokio::spawn(async move { store.read(&request).await })
    }
}

impl Drop for EventWalk {
    fn drop(&mut self) {
        if let Some(coming) = self.coming.take() {
            coming.abort();
        }
    }
}
