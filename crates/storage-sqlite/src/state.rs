//! The single row of table `state`.

use domain::{
    StorageFailure, StoreId,
    ports::{
        RetentionMode,
        engine::{EpochEnd, PartitionState},
    },
};
use jiff::Timestamp;
use rusqlite::Connection;

use crate::failure::sqlite;

/// The only partition. A file has one partition.
pub(crate) const PARTITION: u16 = 0;

/// The state that every commit reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) store: StoreId,
    pub(crate) epoch: u64,
    /// Number that rises with each log epoch, from 1. Leases carry it.
    pub(crate) generation: u64,
    /// Sequence of the newest event. Right after a restore, the sequence behind which the new log epoch begins.
    pub(crate) head: u64,
    /// Stored time of the newest event, in microseconds. It never falls, even if the clock is set back.
    pub(crate) stored_at: i64,
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// Last indexed position. Events up to it are in table `posting`.
    pub(crate) indexed: u64,
    /// Highest sequence that retention has removed.
    pub(crate) trimmed: u64,
    /// Whether events were erased and the file may still hold bytes of them.
    pub(crate) unscrubbed: bool,
    /// Retention mode, fixed when the file was created.
    pub(crate) keeps: RetentionMode,
    /// Whether any stored event has a replay count. [`State::save`] does not write this field.
    pub(crate) any_replays: bool,
}

impl State {
    pub(crate) fn load(connection: &Connection) -> Result<Self, StorageFailure> {
        let mut statement = connection
            .prepare_cached(
                "SELECT store, epoch, generation, head, events, bytes, indexed, trimmed, stored_at, unscrubbed, \
                 keeps, EXISTS (SELECT 1 FROM replay) FROM state WHERE one = 1",
            )
            .map_err(sqlite)?;
        statement
            .query_row([], |row| {
                let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
                Ok(Self {
                    store: StoreId(number(0)?),
                    epoch: number(1)?,
                    generation: number(2)?,
                    head: number(3)?,
                    events: number(4)?,
                    bytes: number(5)?,
                    indexed: number(6)?,
                    trimmed: number(7)?,
                    stored_at: row.get(8)?,
                    unscrubbed: row.get(9)?,
                    keeps: match row.get_ref(10)?.as_str()? {
                        DELIVERIES => RetentionMode::UntilDelivered,
                        _ => RetentionMode::History,
                    },
                    any_replays: row.get(11)?,
                })
            })
            .map_err(sqlite)
    }

    /// Returns the number of positions after the last indexed one. The gap after a restore counts as well, which only
    /// makes a fold earlier.
    ///
    /// Returns 0 if the namespace indexes only ids. Every read of such a namespace scans the whole log as its tail.
    pub(crate) fn unindexed(&self) -> u64 {
        match self.keeps {
            RetentionMode::History => self.head.saturating_sub(self.indexed),
            RetentionMode::UntilDelivered => 0,
        }
    }

    pub(crate) fn save(&self, connection: &Connection) -> Result<(), StorageFailure> {
        let mut statement = connection
            .prepare_cached(
                "UPDATE state SET epoch = ?1, generation = ?2, head = ?3, events = ?4, bytes = ?5, indexed = ?6, \
                 trimmed = ?7, stored_at = ?8, unscrubbed = ?9 WHERE one = 1",
            )
            .map_err(sqlite)?;
        let [epoch, generation, head, events, bytes, indexed, trimmed] =
            [self.epoch, self.generation, self.head, self.events, self.bytes, self.indexed, self.trimmed]
                .map(|number| number as i64);
        let row = (epoch, generation, head, events, bytes, indexed, trimmed, self.stored_at, self.unscrubbed);
        statement.execute(row).map_err(sqlite)?;
        Ok(())
    }

    /// Returns the state of the partition in the form of the port.
    pub(crate) fn describe(
        &self,
        connection: &Connection,
        now: Timestamp,
    ) -> Result<PartitionState, StorageFailure> {
        Ok(PartitionState {
            head: self.head,
            epoch: self.epoch,
            generation: self.generation,
            ends: if self.epoch == FIRST_EPOCH { Vec::new() } else { ends(connection)? },
            events: self.events,
            bytes: self.bytes,
            trimmed_through: self.trimmed,
            now,
        })
    }
}

/// The log epoch of a new store. No earlier epoch exists, so [`ends`] has nothing to read.
const FIRST_EPOCH: u64 = 1;

fn ends(connection: &Connection) -> Result<Vec<EpochEnd>, StorageFailure> {
    let mut statement = connection
        .prepare_cached("SELECT epoch, ended, next FROM epoch ORDER BY ended, epoch")
        .map_err(sqlite)?;
    statement
        .query_map([], |row| {
            let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
            Ok(EpochEnd { epoch: number(0)?, last: number(1)?, next: number(2)?, restored: true })
        })
        .and_then(Iterator::collect)
        .map_err(sqlite)
}

const DELIVERIES: &str = "deliveries";

/// Returns the text of column `keeps`.
pub(crate) fn keeps_column(keeps: RetentionMode) -> &'static str {
    match keeps {
        RetentionMode::History => "history",
        RetentionMode::UntilDelivered => DELIVERIES,
    }
}
