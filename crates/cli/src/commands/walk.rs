//! Reads a slice of the log page by page, and warns about damaged events.

use std::sync::Arc;

use domain::{
    CorruptEvent, Cursor, Filter,
    ports::{EventStore, Order, Page},
};
use event_replay::app::{bounds::Bounds, walk::EventWalk};

use crate::{errors::CliError, output::Printer};

/// A walk over matching events. Its memory does not depend on the number of events.
pub(crate) struct Walk {
    events: EventWalk,
    warns: bool,
}

impl Walk {
    /// Creates a walk of at most `limit` events.
    pub(crate) fn new(store: Arc<dyn EventStore>, filter: Filter, order: Order, limit: Option<u64>) -> Self {
        Self { events: EventWalk::new(store, filter, order, limit), warns: true }
    }

    /// Starts the walk after a cursor.
    #[must_use]
    pub(crate) fn after(self, after: Option<Cursor>) -> Self {
        Self { events: self.events.after(after), ..self }
    }

    /// Ends the walk at a high-water mark.
    #[must_use]
    pub(crate) fn until(self, until: Option<Cursor>) -> Self {
        Self { events: self.events.until(until), ..self }
    }

    /// Restricts the walk to bounds, in addition to a cursor and a mark that are set already.
    #[must_use]
    pub(crate) fn within(self, bounds: &Bounds) -> Self {
        Self { events: self.events.within(bounds), ..self }
    }

    /// Disables the warnings about damaged events.
    #[must_use]
    pub(crate) fn without_warnings(mut self) -> Self {
        self.warns = false;
        self
    }

    /// Returns whether no page is left.
    pub(crate) fn is_over(&self) -> bool {
        self.events.is_over()
    }

    /// Returns the next page, which may be empty. Returns none at the end.
    pub(crate) async fn page(&mut self, printer: &Printer) -> Result<Option<Page>, CliError> {
        let before = self.events.corrupt();
        let page = self.events.page().await?;
        if let Some(page) = page.as_ref().filter(|_| self.warns) {
            warn(before, &page.corrupt, printer);
        }
        Ok(page)
    }

    /// Warns about damaged events. They come after the damaged events that this walk has counted.
    pub(crate) fn warn(&self, corrupt: &[CorruptEvent], printer: &Printer) {
        warn(self.corrupt(), corrupt, printer);
    }

    /// The cursor at which a later walk continues. None if no events are left.
    pub(crate) fn next_cursor(&self) -> Option<&Cursor> {
        self.events.next_cursor()
    }

    /// Events that could not be read.
    pub(crate) fn corrupt(&self) -> u64 {
        self.events.corrupt()
    }
}

fn warn(before: u64, corrupt: &[CorruptEvent], printer: &Printer) {
    for (before, damaged) in (before..).zip(corrupt) {
        let advice = match before {
            0 => "; `event-replay verify` finds all damage",
            _ => "",
        };
        let (position, detail) = (damaged.position, &damaged.detail);
        printer.warn(&format!("the event at {position} is damaged and left out: {detail}{advice}"));
    }
}
