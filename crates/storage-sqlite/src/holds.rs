//! What trims must keep for checkpoints, replays and consumer groups; and what groups lost where nothing held it.

use std::collections::HashSet;

use domain::{
    Cursor, StorageFailure,
    group::{BlockedKey, Gap, GroupKey, Key},
    ports::{EventStoreError, GroupHolds},
};
use rusqlite::Connection;

use crate::{
    checkpoints, commits, cursor,
    failure::sqlite,
    groups::{self, Group},
    lanes, replays, rows,
    state::{State, earlier, from_micros, micros},
};

/// Gaps that a group keeps apart; beyond, the two oldest become one.
const MAX_GAPS: usize = 100;

/// Everything after a sequence stays, and for whom.
pub(crate) type Hold = (u64, String);

/// What holds, at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds {
    /// The lowest of those that hold whatever comes after their mark.
    firm: Option<Hold>,
    /// The lowest of consumer groups'.
    group: Option<Hold>,
    /// Groups hold nothing that was stored before this, in microseconds.
    released_before: i64,
}

impl Holds {
    /// Who holds an event, if anyone does.
    pub(crate) fn holder(&self, seq: u64, stored_at: i64) -> Option<&str> {
        let holding = |hold: &&Hold| seq > hold.0;
        let group = self.group.as_ref().filter(|_| stored_at >= self.released_before);
        // Of equal marks the firm one is named.
        [self.firm.as_ref(), group]
            .into_iter()
            .flatten()
            .filter(holding)
            .min_by_key(|(mark, _)| *mark)
            .map(|(_, holder)| holder.as_str())
    }
}

/// What holds now: what the caller holds, the store's own checkpoints and replays, and its groups.
pub(crate) fn all(
    connection: &Connection,
    state: &State,
    callers: Option<Hold>,
    of_groups: GroupHolds,
    now: i64,
) -> Result<Holds, StorageFailure> {
    let mut own = checkpoints::holding(connection)?;
    own.extend(replays::holding(connection)?);
    let firm = lowest(connection, state, callers, own).map_err(|error| match error {
        EventStoreError::Storage(failure) => failure,
        other => StorageFailure::Other(other.to_string()),
    })?;
    let forgotten_before = earlier(now, of_groups.forgotten_after);
    let mut group: Option<Hold> = None;
    for found in groups::all(connection)? {
        let mark = mark(connection, found.number)?;
        let is_forgotten = micros(found.record.last_seen_at) < forgotten_before;
        if !is_forgotten && group.as_ref().is_none_or(|(lowest, _)| mark < *lowest) {
            group = Some((mark, format!("group {}", found.record.spec.name)));
        }
    }
    let released_before = of_groups.max_hold.map_or(i64::MIN, |most| earlier(now, most));
    Ok(Holds { firm, group, released_before })
}

/// The lowest of some holds; of equals, the first.
pub(crate) fn lowest(
    connection: &Connection,
    state: &State,
    mut lowest: Option<Hold>,
    holds: Vec<(Cursor, String)>,
) -> Result<Option<Hold>, EventStoreError> {
    for (mark, holder) in holds {
        let seq = cursor::resolve(connection, state, &mark).map_err(|error| match error {
            EventStoreError::LostCursor(why) => EventStoreError::LostCursor(format!("{holder}: {why}")),
            other => other,
        })?;
        if lowest.as_ref().is_none_or(|(low, _)| seq < *low) {
            lowest = Some((seq, holder));
        }
    }
    Ok(lowest)
}

/// Everything of a group at or below this sequence is done, and nothing waits there.
fn mark(connection: &Connection, number: i64) -> Result<u64, StorageFailure> {
    let cursor = lowest_cursor(connection, number)?;
    let blocked = commits::first_blocked(connection, number, 1)?.pop().map(|(_, row)| row.position);
    let waiting = lanes::positions(connection, number)?.into_iter().min();
    let named = blocked.into_iter().chain(waiting).min();
    Ok(named.map_or(cursor, |named| cursor.min(named.saturating_sub(1))))
}

fn lowest_cursor(connection: &Connection, number: i64) -> Result<u64, StorageFailure> {
    connection
        .prepare_cached("SELECT ifnull(min(cursor), 0) FROM segment WHERE grp = ?1")
        .and_then(|mut statement| statement.query_row([number], |row| row.get::<_, i64>(0)))
        .map(|cursor| cursor as u64)
        .map_err(sqlite)
}

/// Notes in every group what of these events, which are about to go, it has not passed. The positions must rise.
pub(crate) fn record_gaps(connection: &Connection, going: &[u64], now: i64) -> Result<(), StorageFailure> {
    let Some(last) = going.last() else { return Ok(()) };
    for group in groups::all(connection)? {
        if *last <= mark(connection, group.number)? {
            continue;
        }
        let unpassed = Unpassed::of(connection, &group)?;
        let mut lost = None;
        for seq in going {
            if unpassed.has(connection, *seq)? {
                let (from, _) = lost.unwrap_or((*seq, *seq));
                lost = Some((from, *seq));
            }
        }
        if let Some((from, to)) = lost {
            let mut gaps = group.record.gaps;
            note(connection, &mut gaps, Gap { partition: 0, from, to, at: from_micros(now) })?;
            groups::set_gaps(connection, group.number, &gaps)?;
        }
    }
    Ok(())
}

/// What a group has not passed.
struct Unpassed<'g> {
    key: &'g GroupKey,
    /// All segments have passed what lies up to here, but for what follows.
    cursor: u64,
    ledger: Vec<BlockedKey>,
    /// What its ledger and its lanes name.
    named: HashSet<u64>,
}

impl<'g> Unpassed<'g> {
    fn of(connection: &Connection, group: &'g Group) -> Result<Self, StorageFailure> {
        let rows = commits::first_blocked(connection, group.number, usize::MAX)?;
        let ledger: Vec<BlockedKey> = rows.into_iter().map(|(_, row)| row).collect();
        let mut named: HashSet<u64> = lanes::positions(connection, group.number)?.into_iter().collect();
        named.extend(ledger.iter().map(|row| row.position));
        let cursor = lowest_cursor(connection, group.number)?;
        Ok(Self { key: &group.record.spec.key, cursor, ledger, named })
    }

    fn has(&self, connection: &Connection, seq: u64) -> Result<bool, StorageFailure> {
        if seq > self.cursor || self.named.contains(&seq) {
            return Ok(true);
        }
        // A later event of a key that is blocked is named by nothing but its key.
        let in_reach = |row: &&BlockedKey| (row.position..=row.through).contains(&seq);
        let mut waiting = self.ledger.iter().filter(in_reach).peekable();
        if waiting.peek().is_none() {
            return Ok(false);
        }
        let Some(Ok(event)) = rows::find(connection, seq)?.map(|row| row.event) else { return Ok(false) };
        let key = Key::from(self.key.of(&event));
        Ok(waiting.any(|row| row.key == key))
    }
}

/// Adds a gap. One that nothing parts from the last is part of it: trims go in small steps.
fn note(connection: &Connection, gaps: &mut Vec<Gap>, gap: Gap) -> Result<(), StorageFailure> {
    if let Some(last) = gaps.last_mut()
        && nothing_between(connection, last.to, gap.from)?
    {
        last.to = last.to.max(gap.to);
        last.at = gap.at;
        return Ok(());
    }
    gaps.push(gap);
    if gaps.len() > MAX_GAPS {
        let oldest = gaps.remove(0);
        if let Some(next) = gaps.first_mut() {
            next.from = oldest.from;
        }
    }
    Ok(())
}

fn nothing_between(connection: &Connection, from: u64, to: u64) -> Result<bool, StorageFailure> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM event WHERE seq > ?1 AND seq < ?2)")
        .and_then(|mut statement| statement.query_row((from as i64, to as i64), |row| row.get(0)))
        .map_err(sqlite)
}
