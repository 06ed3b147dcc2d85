//! The rows of an event that waits: its bytes by its id, its place in an index by when it is due and then by when it was
//! scheduled.

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

/// What stands before an event's bytes, on a line of its own.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    due: Timestamp,
    scheduled_at: Timestamp,
    number: u64,
}

/// The slot of a scheduled event. Slots sort as the events are due.
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

/// An event that waits, and its place.
pub(crate) struct Waiting {
    pub(super) place: ScheduleSlot,
    pub(crate) scheduled: ScheduledEvent,
}

impl Waiting {
    /// Reads the row of an id.
    pub(crate) fn read(id: &str, value: &[u8]) -> Result<Self, StorageFailure> {
        let what = format!("the scheduled event {id:?}");
        let end = value.iter().position(|byte| *byte == b'\n').ok_or_else(|| corrupt(&what))?;
        let (header, bytes) = value.split_at(end);
        let Header { due, scheduled_at, number } = from_json(header, &what)?;
        let event = event(bytes.get(1..).unwrap_or_default(), &what)?;
        let place = ScheduleSlot { due, number, id: id.to_owned(), bytes: event.size_bytes() as u64 };
        Ok(Self { place, scheduled: ScheduledEvent { event, due, scheduled_at } })
    }

    /// The id that a key of the schedule names.
    pub(crate) fn id_at(key: &[u8]) -> Result<String, StorageFailure> {
        Ok(ScheduleSlot::read(key)?.id)
    }

    /// Its key in the schedule.
    pub(crate) fn key(&self) -> Vec<u8> {
        self.place.key()
    }

    /// An event that is to wait.
    pub(super) fn new(event: &Event, due: Timestamp, scheduled_at: Timestamp, number: u64) -> Self {
        let (id, bytes) = (event.id().to_owned(), event.size_bytes() as u64);
        let scheduled = ScheduledEvent { event: event.clone(), due, scheduled_at };
        Self { place: ScheduleSlot { due, number, id, bytes }, scheduled }
    }

    /// Puts it into the schedule.
    pub(super) fn put_in(&self, transaction: &mut Transaction) -> Result<(), StorageFailure> {
        let ScheduledEvent { event, due, scheduled_at } = &self.scheduled;
        let header = Header { due: *due, scheduled_at: *scheduled_at, number: self.place.number };
        let mut value = to_json(&header)?;
        value.push(b'\n');
        value.extend_from_slice(&event_bytes(event));
        transaction.put(waiting_row(&self.place.id), value).list(self.place.row());
        Ok(())
    }

    /// Takes it out of the schedule, if it is still at its place.
    pub(super) fn take_out(&self, transaction: &mut Transaction) {
        transaction.guard(Guard::Present(self.place.row()));
        transaction.delete(self.place.row()).delete(waiting_row(&self.place.id));
    }
}
