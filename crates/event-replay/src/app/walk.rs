//! Reads a part of the log page by page. The next page is read while the current page is in use.

use std::sync::Arc;

use domain::{
    Cursor, Filter, StorageFailure,
    ports::{EventStore, EventStoreError, Order, Page, ReadRequest},
};
use tokio::task::JoinHandle;

use super::error::AppError;

/// Events per page. The number is a compromise between speed and memory.
const PAGE: u64 = 1000;

/// A walk over matching events. Its memory does not depend on the number of events.
pub struct EventWalk {
    store: Arc<dyn EventStore>,
    request: ReadRequest,
    left: Option<u64>,
    /// The cursor from which a later walk continues.
    next: Option<Cursor>,
    coming: Option<JoinHandle<Result<Page, EventStoreError>>>,
    done: bool,
    corrupt: u64,
}

impl EventWalk {
    /// Starts a walk of at most `limit` events.
    pub fn new(store: Arc<dyn EventStore>, filter: Filter, order: Order, limit: Option<u64>) -> Self {
        let request = ReadRequest { filter: Arc::new(filter), order, after: None, until: None, limit: 0 };
        Self { store, request, left: limit, next: None, coming: None, done: false, corrupt: 0 }
    }

    /// Starts the walk after a cursor.
    #[must_use]
    pub fn after(mut self, after: Option<Cursor>) -> Self {
        self.request.after = after;
        self
    }

    /// Ends the walk at a mark.
    #[must_use]
    pub fn until(mut self, until: Option<Cursor>) -> Self {
        self.request.until = until;
        self
    }

    /// Returns whether no page is left.
    pub fn is_over(&self) -> bool {
        self.done
    }

    /// Returns the next page, which may be empty. Returns `None` at the end.
    ///
    /// # Errors
    /// Returns [`AppError`] when the cursor does not belong to this log, or when the store fails.
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

    /// Returns the cursor from which a later walk continues. Returns `None` if no event is left.
    pub fn next_cursor(&self) -> Option<&Cursor> {
        self.next.as_ref()
    }

    /// Returns the number of unreadable events.
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
