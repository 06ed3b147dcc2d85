//! The rows of a dead letter: its changing part, its event, and its entries in the indexes.

use std::sync::atomic::{AtomicU16, Ordering};

use domain::{
    DeadLetter, DeadLetterState, Event, Position, StorageFailure,
    dead_letter::{Failure, LetterEdit},
    ports::engine::{Guard, Read, RowId, Space, SpaceKind, Transaction},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    partition::Partition,
    rows::{by_time, event, event_bytes, from_json, ids_in, letter_at, letters_in, named, time_key, to_json},
};

/// The most dead letters that one call reads or changes.
pub(crate) const PAGE: usize = 100;

/// Separates the ids of one microsecond, in the order in which they are created.
static NEXT: AtomicU16 = AtomicU16::new(0);

/// Returns a UUID of version 7 with the time of the store's clock. Bits that the format reserves for finer clocks hold
/// the microseconds. Ids sort in the order of creation, so a page can start after a deleted dead letter.
pub(crate) fn new_id(now: Timestamp) -> String {
    let micros = now.as_microsecond().max(0) as u64;
    let (millis, rest) = (micros / 1000, micros % 1000);
    let variant = 0x8000 | (NEXT.fetch_add(1, Ordering::Relaxed) % 0x4000);
    let random = fastrand::u64(..1 << 48);
    format!("{:08x}-{:04x}-7{rest:03x}-{variant:04x}-{random:012x}", millis >> 16, millis & 0xffff)
}

/// Returns a time at or before the creation of a dead letter, from its id or a prefix of the id. Returns none for an id
/// that [`new_id`] cannot have made.
pub(crate) fn made_at(id: &str) -> Option<Timestamp> {
    let digits: String = id.chars().filter(|c| *c != '-').take(12).collect();
    let millis = i64::from_str_radix(&format!("{digits:0<12}"), 16).ok()?;
    Timestamp::from_millisecond(millis).ok()
}

/// A dead letter without its event.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LetterRow {
    pub(crate) group: String,
    partition: u16,
    sequence: u64,
    pub(crate) state: DeadLetterState,
    attempts: u32,
    history: Vec<Failure>,
    pub(crate) fingerprint: String,
    replay_id: Option<String>,
    parked: bool,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    edit: Option<EditRow>,
}

/// An edit without its event.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct EditRow {
    by: String,
    at: Timestamp,
    reason: Option<String>,
}

impl EditRow {
    fn of(edit: &LetterEdit) -> Self {
        Self { by: edit.by.clone(), at: edit.at, reason: edit.reason.clone() }
    }

    fn edit(self, event: Event) -> LetterEdit {
        LetterEdit { event, by: self.by, at: self.at, reason: self.reason }
    }
}

impl LetterRow {
    fn of(letter: &DeadLetter) -> Self {
        Self {
            group: letter.group.clone(),
            partition: letter.position.partition,
            sequence: letter.position.sequence,
            state: letter.state,
            attempts: letter.attempts,
            history: letter.history.clone(),
            fingerprint: letter.fingerprint.clone(),
            replay_id: letter.replay_id.clone(),
            parked: letter.parked,
            created: letter.created_at,
            updated: letter.updated_at,
            reason: letter.reason.clone(),
            edit: letter.edit.as_ref().map(EditRow::of),
        }
    }

    pub(crate) fn read(id: &str, value: &[u8]) -> Result<Self, StorageFailure> {
        from_json(value, format_args!("the dead letter {id}"))
    }

    /// Returns the sequence of the dead letter's event.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns whether the event has an edit.
    pub(crate) fn is_edited(&self) -> bool {
        self.edit.is_some()
    }

    fn letter(self, id: String, event: Event, edited: Option<Event>) -> DeadLetter {
        DeadLetter {
            id,
            group: self.group,
            position: Position::new(self.partition, self.sequence),
            event,
            state: self.state,
            attempts: self.attempts,
            history: self.history,
            fingerprint: self.fingerprint,
            replay_id: self.replay_id,
            parked: self.parked,
            created_at: self.created,
            updated_at: self.updated,
            reason: self.reason,
            edit: self.edit.zip(edited).map(|(row, event)| row.edit(event)),
        }
    }
}

/// A dead letter with the value of its row, which guards need.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) letter: DeadLetter,
    value: Vec<u8>,
}

fn letter_row(id: &str) -> RowId {
    named(SpaceKind::DeadLetter, id)
}

fn event_row(id: &str) -> RowId {
    named(SpaceKind::DeadLetterEvent, id)
}

fn edit_row(id: &str) -> RowId {
    named(SpaceKind::DeadLetterEdit, id)
}

/// Returns a dead letter's entry in the index of its state.
fn state_row(letter: &DeadLetter) -> RowId {
    letters_in(&letter.group, letter.state).row(time_key(letter.created_at, &letter.id))
}

/// Adds a new dead letter.
pub(crate) fn add_letter(transaction: &mut Transaction, letter: &DeadLetter) -> Result<(), StorageFailure> {
    let place = letter_at(&letter.group, letter.position.sequence);
    transaction.guard(Guard::Absent(place.clone())).put(place, letter.id.as_bytes());
    transaction.put(letter_row(&letter.id), to_json(&LetterRow::of(letter))?);
    transaction.put(event_row(&letter.id), event_bytes(&letter.event));
    transaction.list(by_time(SpaceKind::DeadLetterOrder, letter.created_at, &letter.id));
    transaction.list(state_row(letter));
    transaction.put(named(SpaceKind::DeadLetterGroup, &letter.group), Vec::new());
    Ok(())
}

/// Replaces a dead letter. The transaction is refused if the dead letter has changed since the read.
pub(crate) fn put_letter(
    transaction: &mut Transaction,
    before: &Stored,
    after: &DeadLetter,
) -> Result<(), StorageFailure> {
    transaction.guard(Guard::Is(letter_row(&after.id), before.value.clone()));
    transaction.put(letter_row(&after.id), to_json(&LetterRow::of(after))?);
    if before.letter.state != after.state {
        transaction.delete(state_row(&before.letter)).list(state_row(after));
    }
    match (&before.letter.edit, &after.edit) {
        (before, Some(edit))
            if before
                .as_ref()
                .is_none_or(|before| before.at != edit.at || before.event.json() != edit.event.json()) =>
        {
            transaction.put(edit_row(&after.id), event_bytes(&edit.event));
        }
        (Some(_), None) => drop(transaction.delete(edit_row(&after.id))),
        _ => {}
    }
    Ok(())
}

/// Removes a dead letter. The transaction is refused if the dead letter has changed since the read.
pub(crate) fn remove_letter(transaction: &mut Transaction, before: &Stored) {
    let letter = &before.letter;
    transaction.guard(Guard::Is(letter_row(&letter.id), before.value.clone()));
    for row in [
        letter_row(&letter.id),
        event_row(&letter.id),
        edit_row(&letter.id),
        letter_at(&letter.group, letter.position.sequence),
        by_time(SpaceKind::DeadLetterOrder, letter.created_at, &letter.id),
        state_row(letter),
    ] {
        transaction.delete(row);
    }
}

impl Partition<'_> {
    /// Returns the dead letters of these ids, in the order of the ids. An id without a dead letter in this partition
    /// gives none.
    pub(crate) async fn letters(
        self,
        ids: &[impl AsRef<str>],
    ) -> Result<Vec<Option<Stored>>, StorageFailure> {
        let mut letters = Vec::with_capacity(ids.len());
        for some in ids.chunks(PAGE) {
            let ids = some.iter().map(AsRef::as_ref);
            let all = |id| [letter_row(id), event_row(id), edit_row(id)].map(Read::Row);
            let mut found = self.get(&ids.clone().flat_map(all).collect::<Vec<_>>()).await?;
            for id in ids {
                let (value, bytes, edited) = (found.row(), found.row(), found.row());
                // The dead letter was removed between the two reads.
                let (Some(value), Some(bytes)) = (value, bytes) else {
                    letters.push(None);
                    continue;
                };
                let event = event(&bytes, format_args!("the event of the dead letter {id}"))?;
                let named = format_args!("the edited event of the dead letter {id}").to_string();
                let edited = edited.map(|bytes| self::event(&bytes, named)).transpose()?;
                let letter = LetterRow::read(id, &value)?.letter(id.to_owned(), event, edited);
                letters.push(Some(Stored { letter, value }));
            }
        }
        Ok(letters)
    }

    /// Returns the dead letters of these ids without their events, in the order of the ids.
    pub(crate) async fn letter_rows(self, ids: &[String]) -> Result<Vec<Option<LetterRow>>, StorageFailure> {
        let reads: Vec<Read> = ids.iter().map(|id| Read::Row(letter_row(id))).collect();
        let mut found = self.get(&reads).await?;
        ids.iter().map(|id| found.row().map(|value| LetterRow::read(id, &value)).transpose()).collect()
    }

    /// Returns the first ids of an index, at most one page.
    pub(crate) async fn letter_ids(self, index: &Space) -> Result<Vec<String>, StorageFailure> {
        let rows = self.get(&[Read::first(index.clone(), PAGE)]).await?.range();
        ids_in(rows.iter().map(|(key, _)| key))
    }
}
