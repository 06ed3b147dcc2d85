//! Counts of the events in a log: by type, source, day and kind of entity. An engine keeps the counts as rows and
//! changes them with its index. So statistics of a whole log need no scan.

use std::collections::BTreeMap;

use crate::{
    event::Event,
    ports::engine::{
        RowId, SpaceKind,
        rows::{KeyReader, Part, key},
    },
    time::{day_name, day_of},
};

/// Key of the row with the sequence up to which events are counted.
const THROUGH: &str = "through";
const HOURS_A_DAY: i64 = 24;

/// Property by which events are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Figure {
    /// Event type.
    Type,
    /// Source.
    Source,
    /// UTC day of the timestamp, as `2024-01-15`.
    Day,
    /// Kinds of the entities that an event names. An event counts once for each kind.
    EntityKind,
}

impl Figure {
    const ALL: [Self; 4] = [Self::Type, Self::Source, Self::Day, Self::EntityKind];

    /// Returns the name of the figure in the stored format.
    fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::Source => "source",
            Self::Day => "day",
            Self::EntityKind => "entity-kind",
        }
    }
}

/// Returns the day of an hour. The hour counts from the Unix epoch.
pub fn day_of_hour(hour: i64) -> String {
    day_name(hour.div_euclid(HOURS_A_DAY))
}

/// Returns the row with the sequence up to which a partition's events are counted.
pub fn through_row() -> RowId {
    RowId::of(SpaceKind::Tally, key(&[Part::Text(THROUGH)]))
}

/// Counts of events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<(Figure, String), u64>,
}

impl Tally {
    /// Counts an event.
    pub fn add_event(&mut self, event: &Event) {
        self.add(Figure::Type, event.event_type(), 1);
        self.add(Figure::Source, event.source(), 1);
        self.add(Figure::Day, &day_name(day_of(event.timestamp())), 1);
        // Member names are unique within an event, so each kind occurs once.
        for (kind, _) in event.entities() {
            self.add(Figure::EntityKind, kind, 1);
        }
    }

    /// Adds to a count.
    pub fn add(&mut self, figure: Figure, label: &str, amount: u64) {
        let count = self.counts.entry((figure, label.to_owned())).or_default();
        *count = count.saturating_add(amount);
    }

    /// Adds all counts of another tally.
    pub fn add_all(&mut self, other: &Self) {
        for ((figure, label), amount) in &other.counts {
            self.add(*figure, label, *amount);
        }
    }

    /// Returns the counts by one figure.
    pub fn by(&self, figure: Figure) -> BTreeMap<String, u64> {
        let own = self.counts.iter().filter(|((own, _), _)| *own == figure);
        own.map(|((_, label), count)| (label.clone(), *count)).collect()
    }

    /// Returns the rows to change for these counts, each with the amount to add.
    pub fn rows(&self) -> impl Iterator<Item = (RowId, u64)> + '_ {
        self.counts.iter().map(|((figure, label), amount)| {
            (RowId::of(SpaceKind::Tally, key(&[Part::Text(figure.name()), Part::Text(label)])), *amount)
        })
    }

    /// Reads the rows of [`SpaceKind::Tally`]. Returns the counts, and the sequence up to which events are counted.
    /// Returns none if events are not counted, or if a row cannot be read.
    pub fn read(rows: &[(Vec<u8>, Vec<u8>)]) -> Option<(Self, u64)> {
        let (mut tally, mut through) = (Self::default(), None);
        for (key, value) in rows {
            let mut reader = KeyReader::new(key);
            let (name, label) = (reader.text()?, reader.text());
            let number: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
            match (Figure::ALL.into_iter().find(|figure| figure.name() == name), label) {
                (Some(figure), Some(label)) => tally.add(figure, &label, number),
                (None, None) if name == THROUGH => through = Some(number),
                _ => return None,
            }
        }
        Some((tally, through?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;
    use crate::{Document, Limits};

    #[test]
    fn counts_are_read_as_they_were_written() {
        let json = r#"{"id":"e","type":"a","version":"1","timestamp":"1969-12-31T23:00:00Z","source":"s","userId":"u",
            "metadata":{}}"#;
        let event = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
        let mut tally = Tally::default();
        tally.add_event(&event);
        tally.add_event(&event);
        let mut rows: Vec<_> =
            tally.rows().map(|(row, count)| (row.key, count.to_string().into_bytes())).collect();
        assert_eq!(Tally::read(&rows), None, "not counted from the beginning");
        rows.push((through_row().key, b"7".to_vec()));
        assert_eq!(Tally::read(&rows), Some((tally.clone(), 7)));
        assert_eq!(tally.by(Figure::Day), BTreeMap::from([("1969-12-31".to_owned(), 2)]));
        assert_eq!(day_of_hour(-1), "1969-12-31");
        rows.push((b"?".to_vec(), b"1".to_vec()));
        assert_eq!(Tally::read(&rows), None, "of a later version");
    }
}
