//! Reads a part of the log page by page. The next page is read while the current page is in use.

use std::sync::Arc;

use domain::{
    Cursor, Filter, StorageFailure,
    ports::{EventStore, EventStoreError, Order, Page, ReadRequest},
};
use tokio::task::JoinHandle;

use super::{bounds::Bounds, error::AppError};

/// Events per page. The number is a compromise between speed and memory.
const PAGE: u64 = 1000;

/// A walk over matching events. Its memory does not depend on the number of events.
pub struct EventWalk {
    store: Arc<dyn EventStore>,
    request: ReadRequest,
    /// In newest-first order: the mark at which the walk ends (exclusive).
    floor: Option<Cursor>,
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
        Self { store, request, floor: None, left: limit, next: None, coming: None, done: false, corrupt: 0 }
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

    /// Restricts the walk to bounds, in addition to a cursor and a mark that are set already.
    #[must_use]
    pub fn within(mut self, bounds: &Bounds) -> Self {
        if let Some(until) = &bounds.until {
            let own = self.request.until.take();
            self.request.until = Some(own.map_or_else(|| until.clone(), |own| own.earlier(until)));
        }
        match (&bounds.after, self.request.order) {
            (None, _) => {}
            (Some(after), Order::OldestFirst) => {
                let own = self.request.after.take();
                self.request.after = Some(own.map_or_else(|| after.clone(), |own| own.later(after)));
            }
            (Some(after), Order::NewestFirst) => self.floor = Some(after.clone()),
        }
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
        let mut page =
            coming.await.map_err(|lost| StorageFailure::Other(format!("reading ended early: {lost}")))??;
        if let Some(floor) = &self.floor {
            end_at(floor, &mut page);
        }
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

/// Removes the events at or before a mark from a page in newest-first order. Ends the walk if every later event is at or
/// before the mark.
fn end_at(floor: &Cursor, page: &mut Page) {
    page.events.retain(|stored| !floor.covers(stored.position));
    page.corrupt.retain(|damaged| !floor.covers(damaged.position));
    if page.next.as_ref().is_some_and(|next| floor.reaches(&next.before())) {
        page.next = None;
    }
}

impl Drop for EventWalk {
    fn drop(&mut self) {
        if let Some(coming) = self.coming.take() {
            coming.abort();
        }
    }
}
