//! Events that a decision is based on, and the expectation that nothing came since.

use std::sync::Arc;

use domain::{
    Cursor, Expectation, Filter, StorageFailure, StoredEvent,
    ports::{EventStore, EventStoreError, ReadRequest},
};

use super::payload::{DecodeError, Payload};

/// Events of one read.
const PAGE: usize = 500;

/// The events of a filter, as the log had them at one moment.
#[derive(Debug, Clone)]
#[must_use = "a history is read to decide on it"]
pub struct History {
    filter: Arc<Filter>,
    events: Vec<StoredEvent>,
    head: Cursor,
}

impl History {
    /// Reads every event that matches, up to the head of the log as it is now.
    pub(crate) async fn read(
        store: &(impl EventStore + ?Sized),
        filter: Filter,
    ) -> Result<Self, EventStoreError> {
        let head = store.head().await?;
        let filter = Arc::new(filter);
        let mut request = ReadRequest::new(Arc::clone(&filter), PAGE);
        request.until = Some(head.clone());
        let mut events = Vec::new();
        loop {
            let page = store.read(&request).await?;
            if let Some(damaged) = page.corrupt.first() {
                return Err(StorageFailure::Corrupt(format!(
                    "the event at {}: {}",
                    damaged.position, damaged.detail
                ))
                .into());
            }
            events.extend(page.events);
            match page.next {
                Some(next) => request.after = Some(next),
                None => return Ok(Self { filter, events, head }),
            }
        }
    }

    /// The events, in log order.
    pub fn events(&self) -> &[StoredEvent] {
        &self.events
    }

    /// The events as values, in log order.
    ///
    /// # Errors
    /// When one is of another type, or its content is not what the Rust type wants.
    pub fn values<P: Payload>(&self) -> Result<Vec<P>, DecodeError> {
        self.events.iter().map(|stored| P::decode(&stored.event)).collect()
    }

    /// Up to where the log was read.
    pub fn head(&self) -> &Cursor {
        &self.head
    }

    /// The expectation that this history is still whole: no event of its filter came after it was read.
    pub fn unchanged(&self) -> Expectation {
        Expectation::none_of(Arc::clone(&self.filter)).after(self.head.clone())
    }
}
