//! The events that a decision was based on, and the expectation that no later event matches.

use std::sync::Arc;

use bus::Bus;
use domain::{
    Cursor, Expectation, Filter, StorageFailure, StoredEvent,
    ports::{EventStoreError, EventUpcaster, ReadRequest},
    upcast::upcast_stored,
};

use super::payload::{DecodeError, Payload};

/// Events per read.
const PAGE: usize = 500;

/// The events that match a filter, as the log had them at one moment.
#[derive(Debug, Clone)]
#[must_use = "a history is read to decide on it"]
pub struct History {
    filter: Arc<Filter>,
    events: Vec<StoredEvent>,
    head: Cursor,
    upcaster: Arc<dyn EventUpcaster>,
}

impl History {
    /// Reads every event that matches the filter, up to the current head of the log.
    pub(crate) async fn read(bus: &Bus, filter: Filter) -> Result<Self, EventStoreError> {
        let (store, upcaster) = (bus.store(), Arc::clone(bus.upcaster()));
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
                None => return Ok(Self { filter, events, head, upcaster }),
            }
        }
    }

    /// Returns the events as they were stored, in log order.
    pub fn events(&self) -> &[StoredEvent] {
        &self.events
    }

    /// Returns the events as values, in log order. Older versions are upcast first.
    ///
    /// # Errors
    /// Returns [`DecodeError`] when an event has another type, when it cannot be upcast, or when its content does not
    /// match the Rust type.
    pub fn values<P: Payload>(&self) -> Result<Vec<P>, DecodeError> {
        self.events.iter().map(|stored| self.value(stored)).collect()
    }

    fn value<P: Payload>(&self, stored: &StoredEvent) -> Result<P, DecodeError> {
        let upcast = upcast_stored(&*self.upcaster, stored);
        P::decode(&upcast.map_err(|error| DecodeError::new::<P>(&stored.event, &error.failure()))?.event)
    }

    /// Returns the head of the log at the time of the read. The history ends there.
    pub fn head(&self) -> &Cursor {
        &self.head
    }

    /// Returns the expectation that no event of the filter was stored after this read.
    pub fn unchanged(&self) -> Expectation {
        Expectation::none_of(Arc::clone(&self.filter)).after(self.head.clone())
    }
}
