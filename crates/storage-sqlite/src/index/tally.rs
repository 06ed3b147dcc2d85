//! The counts of indexed events, stored as rows. The commit that changes the index changes the counts as well.

use domain::{
    Figure, StorageFailure, Tally,
    ports::engine::RowId,
    tally::{day_of_hour, through_row},
};

use super::terms::{self, Term, Value};
use crate::writer::change::Change;

impl Change<'_> {
    /// Computes the counts of events from their terms. Each term comes with the number of its events.
    pub(crate) fn tally_of<'t>(
        &mut self,
        terms: impl Iterator<Item = (&'t Term<'static>, usize)>,
    ) -> Result<Tally, StorageFailure> {
        let mut tally = Tally::default();
        for ((kind, value), events) in terms {
            let events = events as u64;
            match (*kind, value) {
                (terms::TYPE, Value::Text(text)) => tally.add(Figure::Type, text, events),
                (terms::SOURCE, Value::Text(text)) => tally.add(Figure::Source, text, events),
                (terms::HOUR, Value::Hour(hour)) => tally.add(Figure::Day, &day_of_hour(*hour), events),
                (terms::CORRELATION, _) => {}
                (kind, _) => {
                    if let Some(name) = self.kinds.name(self.connection, kind)? {
                        tally.add(Figure::EntityKind, &name, events);
                    }
                }
            }
        }
        Ok(tally)
    }

    /// Adds newly indexed events to the counts. `from_start` means that no event was indexed before them. A store with
    /// events that were never counted gets no counts.
    pub(crate) fn count_in(&mut self, tally: &Tally, from_start: bool) -> Result<(), StorageFailure> {
        if !from_start && !self.is_counted()? {
            return Ok(());
        }
        for (row, events) in tally.rows() {
            let sum = self.counted(&row)?.saturating_add(events);
            self.put(&row, sum.to_string().as_bytes())?;
        }
        self.put(&through_row(), self.state.indexed.to_string().as_bytes())
    }

    /// Subtracts removed events from the counts. A count of zero has no row.
    pub(crate) fn count_out(&mut self, tally: &Tally) -> Result<(), StorageFailure> {
        if !self.is_counted()? {
            return Ok(());
        }
        for (row, events) in tally.rows() {
            match self.counted(&row)?.saturating_sub(events) {
                0 => self.delete(&row)?,
                left => self.put(&row, left.to_string().as_bytes())?,
            }
        }
        Ok(())
    }

    fn is_counted(&mut self) -> Result<bool, StorageFailure> {
        self.look(&through_row(), |value| value.is_some())
    }

    fn counted(&mut self, row: &RowId) -> Result<u64, StorageFailure> {
        let number = |value: Option<&[u8]>| std::str::from_utf8(value?).ok()?.parse().ok();
        Ok(self.look(row, number)?.unwrap_or(0))
    }
}
