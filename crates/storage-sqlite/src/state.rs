//! The one row of table `state`.

use std::time::Duration;

use domain::{Cursor, StorageFailure, StoreId, ports::Keeps};
use jiff::Timestamp;
use rusqlite::Connection;

use crate::failure::sqlite;

/// What every commit reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) store: StoreId,
    pub(crate) epoch: u64,
    /// The newest sequence.
    pub(crate) head: u64,
    /// When the newest event was stored, in microseconds. It never falls, whatever the clock does.
    pub(crate) stored_at: i64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Events up to here are in `posting`.
    pub(crate) indexed: u64,
    /// The highest sequence that retention has removed.
    pub(crate) trimmed: u64,
    /// Events were erased, and the file may still have bytes of them.
    pub(crate) unscrubbed: bool,
    /// Frozen when the file was made.
    pub(crate) keeps: Keeps,
}

impl State {
    pub(crate) fn load(connection: &Connection) -> Result<Self, StorageFailure> {
        let mut statement = connection
            .prepare_cached(
                "SELECT store, epoch, head, events, bytes, indexed, trimmed, stored_at, unscrubbed, \
                 keeps FROM state WHERE one = 1",
            )
            .map_err(sqlite)?;
        statement
            .query_row([], |row| {
                let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
                Ok(Self {
                    store: StoreId(number(0)?),
                    epoch: number(1)?,
                    head: number(2)?,
                    events: number(3)?,
                    bytes: number(4)?,
                    indexed: number(5)?,
                    trimmed: number(6)?,
                    stored_at: row.get(7)?,
                    unscrubbed: row.get(8)?,
                    keeps: match row.get_ref(9)?.as_str()? {
                        DELIVERIES => Keeps::Deliveries,
                        _ => Keeps::History,
                    },
                })
            })
            .map_err(sqlite)
    }

    /// How many positions the index is behind. A gap that a restore left counts, which only makes a fold come early.
    /// Where nothing but ids is indexed there is nothing to catch up with: every read looks through the tail, and the
    /// tail is all there is.
    pub(crate) fn unindexed(&self) -> u64 {
        match self.keeps {
            Keeps::History => self.head.saturating_sub(self.indexed),
            Keeps::Deliveries => 0,
        }
    }

    pub(crate) fn save(&self, connection: &Connection) -> Result<(), StorageFailure> {
        let mut statement = connection
            .prepare_cached(
                "UPDATE state SET epoch = ?1, head = ?2, events = ?3, bytes = ?4, indexed = ?5, trimmed = ?6, \
                 stored_at = ?7, unscrubbed = ?8 \
                 WHERE one = 1",
            )
            .map_err(sqlite)?;
        let [epoch, head, events, bytes, indexed, trimmed] =
            [self.epoch, self.head, self.events, self.bytes, self.indexed, self.trimmed]
                .map(|number| number as i64);
        let row = (epoch, head, events, bytes, indexed, trimmed, self.stored_at, self.unscrubbed);
        statement.execute(row).map_err(sqlite)?;
        Ok(())
    }

    /// The cursor at a sequence of this store's present epoch.
    pub(crate) fn cursor(&self, sequence: u64) -> Cursor {
        Cursor::new(self.store, self.epoch, vec![sequence])
    }
}

const DELIVERIES: &str = "deliveries";

/// What column `keeps` says.
pub(crate) fn keeps_column(keeps: Keeps) -> &'static str {
    match keeps {
        Keeps::History => "history",
        Keeps::Deliveries => DELIVERIES,
    }
}

/// Microseconds of the Unix epoch, rounded down. The years 1 to 9999 fit.
pub(crate) fn micros(time: Timestamp) -> i64 {
    time.as_nanosecond().div_euclid(1000) as i64
}

pub(crate) fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_microsecond(micros).unwrap_or_default()
}

/// An instant so much later, or the last one there is.
pub(crate) fn later(micros: i64, duration: Duration) -> i64 {
    let duration = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    micros.saturating_add(duration).min(self::micros(Timestamp::MAX))
}

/// An instant so much earlier.
pub(crate) fn earlier(micros: i64, duration: Duration) -> i64 {
    micros.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

/// An instant as text that sorts as instants do, to the nanosecond.
pub(crate) fn exact(time: Timestamp) -> String {
    format!("{time:.9}")
}

pub(crate) fn from_exact(text: &str) -> Result<Timestamp, StorageFailure> {
    text.parse().map_err(|_| StorageFailure::Corrupt(format!("{text:?} is no instant")))
}
