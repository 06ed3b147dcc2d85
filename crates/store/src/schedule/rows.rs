//! The rows of a waiting event. Its bytes are stored by its id. Its place is in an index by due time, then by the order
//! of scheduling.

use domain::{
    Event, StorageFailure,
    ports::{
        ScheduledEvent,
        engine::{
            Guard, RowId, SpaceKind, Transaction,
            rows::{KeyReader, Part, key},
        },
    },
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::rows::{corrupt, event, event_bytes, from_json, named, to_json};

/// The first line of a row. The event's bytes follow it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    due: Timestamp,
    scheduled_at: Timestamp,
    number: u64,
}

/// The place of a scheduled event. Places sort by due time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ScheduleSlot {
    pub(super) due: Timestamp,
    number: u64,
    pub(super) id: String,
    pub(super) bytes: u64,
}

impl ScheduleSlot {
    pub(super) fn key(&self) -> Vec<u8> {
        let Self { due, number, id, bytes } = self;
        key(&[Part::Time(*due), Part::Number(*number), Part::Text(id), Part::Number(*bytes)])
    }

    pub(super) fn row(&self) -> RowId {
        RowId::of(SpaceKind::ScheduleOrder, self.key())
    }

    pub(super) fn read(key: &[u8]) -> Result<Self, StorageFailure> {
        let mut reader = KeyReader::new(key);
        let mut place = || {
            let (due, number) = reader.time().zip(reader.number())?;
            let (id, bytes) = reader.text().zip(reader.number())?;
            Some(Self { due, number, id, bytes })
        };
        place().ok_or_else(|| corrupt("a place in the schedule"))
    }
}

pub(super) fn waiting_row(id: &str) -> RowId {
    named(SpaceKind::Scheduled, id)
}

/// A waiting event and its place.
pub(crate) struct Waiting {
    pub(super) place: ScheduleSlot,
    pub(crate) scheduled: ScheduledEvent,
}

impl Waiting {
    /// Decodes the row of an id.
    pub(crate) fn read(id: &str, value: &[u8]) -> Result<Self, StorageFailure> {
        let what = format!("the scheduled event {id:?}");
        let end = value.iter().position(|byte| *byte == b'\n').ok_or_else(|| corrupt(&what))?;
        let (header, bytes) = value.split_at(end);
        let Header { due, scheduled_at, number } = from_json(header, &what)?;
        let event = event(bytes.get(1..).unwrap_or_default(), &what)?;
        let place = ScheduleSlot { due, number, id: id.to_owned(), bytes: event.size_bytes() as u64 };
        Ok(Self { place, scheduled: ScheduledEvent { event, due, scheduled_at } })
    }

    /// Returns the id in a key of the schedule.
    pub(crate) fn id_at(key: &[u8]) -> Result<String, StorageFailure> {
        Ok(ScheduleSlot::read(key)?.id)
    }

    /// Returns the event's key in the schedule.
    pub(crate) fn key(&self) -> Vec<u8> {
        self.place.key()
    }

    /// Creates a waiting event.
    pub(super) fn new(event: &Event, due: Timestamp, scheduled_at: Timestamp, number: u64) -> Self {
        let (id, bytes) = (event.id().to_owned(), event.size_bytes() as u64);
        let scheduled = ScheduledEvent { event: event.clone(), due, scheduled_at };
        Self { place: ScheduleSlot { due, number, id, bytes }, scheduled }
    }

    /// Adds the event to the schedule.
    pub(super) fn put_in(&self, transaction: &mut Transaction) -> Result<(), StorageFailure> {
        let ScheduledEvent { event, due, scheduled_at } = &self.scheduled;
        let header = Header { due: *due, scheduled_at: *scheduled_at, number: self.place.number };
        let mut value = to_json(&header)?;
        value.push(b'\n');
        value.extend_from_slice(&event_bytes(event));
        transaction.put(waiting_row(&self.place.id), value).list(self.place.row());
        Ok(())
    }

    /// Removes the event from the schedule. The transaction is refused if the event has left its place.
    pub(super) fn take_out(&self, transaction: &mut Transaction) {
        transaction.guard(Guard::Present(self.place.row()));
        transaction.delete(self.place.row()).delete(waiting_row(&self.place.id));
    }
}
