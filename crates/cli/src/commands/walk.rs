//! Reading a slice of the log page by page, with the next page on its way while one is being written.

use std::sync::Arc;

use domain::{
    CorruptEvent, Cursor, Filter,
    ports::{EventStore, EventStoreError, Order, Page, ReadRequest},
};
use tokio::task::JoinHandle;

use crate::{errors::CliError, output::Printer};

/// Events of one page: enough to be quick, few enough to be little memory.
const PAGE: u64 = 1000;

/// A walk over matching events. Bounded in memory whatever the number of events.
pub(crate) struct Walk {
    store: Arc<dyn EventStore>,
    request: ReadRequest,
    left: Option<u64>,
    /// Where a later walk goes on.
    next: Option<Cursor>,
    coming: Option<JoinHandle<Result<Page, EventStoreError>>>,
    done: bool,
    corrupt: u64,
    warns: bool,
}

impl Walk {
    /// A walk of at most `limit` events.
    pub(crate) fn new(store: Arc<dyn EventStore>, filter: Filter, order: Order, limit: Option<u64>) -> Self {
        let request = ReadRequest { filter: Arc::new(filter), order, after: None, until: None, limit: 0 };
        Self { store, request, left: limit, next: None, coming: None, done: false, corrupt: 0, warns: true }
    }

    /// Starts after a cursor.
    #[must_use]
    pub(crate) fn after(mut self, after: Option<Cursor>) -> Self {
        self.request.after = after;
        self
    }

    /// Ends at a mark.
    #[must_use]
    pub(crate) fn until(mut self, until: Option<Cursor>) -> Self {
        self.request.until = until;
        self
    }

    /// Says nothing of what is damaged.
    #[must_use]
    pub(crate) fn without_warnings(mut self) -> Self {
        self.warns = false;
        self
    }

    /// Whether no page is left.
    pub(crate) fn is_over(&self) -> bool {
        self.done
    }

    /// The next page, which may be empty; none at the end.
    pub(crate) async fn page(&mut self, printer: &Printer) -> Result<Option<Page>, CliError> {
        if self.done {
            return Ok(None);
        }
        let coming = match self.coming.take() {
            Some(coming) => coming,
            None => self.ask(),
        };
        let page =
            coming.await.map_err(|lost| CliError::failed(format!("reading ended early: {lost}")))??;
        if self.warns {
            self.warn(&page.corrupt, printer);
        }
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

    /// Warns of damaged events that follow those that were counted.
    pub(crate) fn warn(&self, corrupt: &[CorruptEvent], printer: &Printer) {
        for (before, damaged) in (self.corrupt..).zip(corrupt) {
            let advice = match before {
                0 => "; `event-replay verify` finds all damage",
                _ => "",
            };
            let (position, detail) = (damaged.position, &damaged.detail);
            printer.warn(&format!("the event at {position} is damaged and left out: {detail}{advice}"));
        }
    }

    /// Where a later walk goes on; none if there is nothing left.
    pub(crate) fn next_cursor(&self) -> Option<&Cursor> {
        self.next.as_ref()
    }

    /// Events that could not be read.
    pub(crate) fn corrupt(&self) -> u64 {
        self.corrupt
    }

    fn ask(&mut self) -> JoinHandle<Result<Page, EventStoreError>> {
        self.request.limit = self.left.map_or(PAGE, |left| left.min(PAGE)) as usize;
        let (store, request) = (Arc::clone(&self.store), self.request.clone());
        tokio::spawn(async move { store.read(&request).await })
    }
}

impl Drop for Walk {
    fn drop(&mut self) {
        if let Some(coming) = self.coming.take() {
            coming.abort();
        }
    }
}
