//! Commits of a group's segments, and the ledger that they keep.

use domain::{
    StorageFailure,
    group::{BlockedKey, Key},
    ports::{CommitOutcome, SegmentCommit},
};
use rusqlite::{Connection, Row};

use crate::{
    dead_letters,
    failure::sqlite,
    groups::{self, execute},
    lanes,
    state::{exact, from_exact},
};

/// Commits to segments, each whole or, where its lease is lost, not at all.
pub(crate) fn commit(
    connection: &Connection,
    commits: &[SegmentCommit],
    now: i64,
) -> Result<Vec<CommitOutcome>, StorageFailure> {
    let mut outcomes = Vec::with_capacity(commits.len());
    let mut known: Option<(&str, Option<i64>)> = None;
    for commit in commits {
        let name = commit.lease.group.as_str();
        // A call is mostly of one group.
        let number = match known {
            Some((known, number)) if known == name => number,
            _ => groups::number_of(connection, name)?,
        };
        known = Some((name, number));
        outcomes.push(match number {
            Some(number) if advance(connection, number, commit)? => {
                let withdrawn = keep_the_rest(connection, number, commit, now)?;
                match withdrawn.is_empty() {
                    true => CommitOutcome::Committed,
                    false => CommitOutcome::CommittedWithout(withdrawn),
                }
            }
            _ => CommitOutcome::Fenced,
        });
    }
    Ok(outcomes)
}

/// Moves cursor and claim, if the lease is the segment's newest; whether it was.
fn advance(connection: &Connection, number: i64, commit: &SegmentCommit) -> Result<bool, StorageFailure> {
    let lease = &commit.lease;
    let changed = execute(
        connection,
        "UPDATE segment SET cursor = ?5, claimed_to = ?6, holder = iif(?7, NULL, holder), \
         until = iif(?7, 0, until) WHERE grp = ?1 AND segment = ?2 AND epoch = ?3 AND token = ?4",
        (
            number,
            lease.segment,
            lease.epoch as i64,
            lease.token as i64,
            commit.cursor as i64,
            commit.claimed_to as i64,
            commit.release,
        ),
    )?;
    Ok(changed > 0)
}

/// Keeps all of a commit but cursor and claim; the lane batches that are not there any more.
fn keep_the_rest(
    connection: &Connection,
    number: i64,
    commit: &SegmentCommit,
    now: i64,
) -> Result<Vec<u64>, StorageFailure> {
    let segment = commit.lease.segment;
    for key in &commit.unblocked {
        execute(
            connection,
            "DELETE FROM blocked WHERE grp = ?1 AND segment = ?2 AND kind = ?3 AND id = ?4",
            (number, segment, &*key.kind, &*key.id),
        )?;
    }
    for row in &commit.blocked {
        put(connection, number, segment, row)?;
    }
    // Before those that are new: a letter whose redrive failed is open again, whatever else is said of it.
    for id in &commit.handled_dead_letters {
        dead_letters::handled(connection, &commit.lease.group, id, now)?;
    }
    for letter in &commit.dead_letters {
        dead_letters::give_up(connection, &commit.lease.group, letter, now)?;
    }
    let mut withdrawn = Vec::new();
    for (seq, progress) in &commit.lane {
        if !lanes::progress(connection, (number, segment, *seq), progress)? {
            withdrawn.push(*seq);
        }
    }
    for (seq, progress) in &commit.lane_done {
        lanes::finish(connection, &commit.lease.group, (number, segment, *seq), progress)?;
    }
    Ok(withdrawn)
}

fn put(connection: &Connection, number: i64, segment: u16, row: &BlockedKey) -> Result<(), StorageFailure> {
    execute(
        connection,
        "INSERT OR REPLACE INTO blocked \
         (grp, segment, kind, id, position, through, claimed_to, attempts, ends, due, error, since) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        (
            number,
            segment,
            &*row.key.kind,
            &*row.key.id,
            row.position as i64,
            row.through as i64,
            row.claimed_to as i64,
            row.attempts,
            row.ends,
            row.due.map(exact),
            &row.error,
            exact(row.since),
        ),
    )?;
    Ok(())
}

/// Removes the rows of a key from every ledger; how many there were.
pub(crate) fn forget_key(connection: &Connection, kind: &str, id: &str) -> Result<usize, StorageFailure> {
    execute(connection, "DELETE FROM blocked WHERE kind = ?1 AND id = ?2", (kind, id))
}

const SELECT: &str =
    "SELECT segment, kind, id, position, through, claimed_to, attempts, ends, due, error, since FROM blocked";

type Columns = (u16, String, String, i64, i64, i64, u32, u32, Option<String>, String, String);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    row.try_into()
}

fn decode(
    (segment, kind, id, position, through, claimed_to, attempts, ends, due, error, since): Columns,
) -> Result<(u16, BlockedKey), StorageFailure> {
    let row = BlockedKey {
        key: Key::new(kind, id),
        position: position as u64,
        through: through as u64,
        claimed_to: claimed_to as u64,
        attempts,
        ends,
        due: due.as_deref().map(from_exact).transpose()?,
        error,
        since: from_exact(&since)?,
    };
    Ok((segment, row))
}

/// A segment's ledger, by position.
pub(crate) fn ledger(
    connection: &Connection,
    number: i64,
    segment: u16,
) -> Result<Vec<BlockedKey>, StorageFailure> {
    let mut statement = connection
        .prepare_cached(&format!("{SELECT} WHERE grp = ?1 AND segment = ?2 ORDER BY position, kind, id"))
        .map_err(sqlite)?;
    let rows = statement.query_map((number, segment), columns).map_err(sqlite)?;
    rows.map(|row| Ok(decode(row.map_err(sqlite)?)?.1)).collect()
}

/// The first rows of a group's ledger, by position.
pub(crate) fn first_blocked(
    connection: &Connection,
    number: i64,
    limit: usize,
) -> Result<Vec<(u16, BlockedKey)>, StorageFailure> {
    let mut statement = connection
        .prepare_cached(&format!("{SELECT} WHERE grp = ?1 ORDER BY position, segment, kind, id LIMIT ?2"))
        .map_err(sqlite)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map((number, limit), columns).map_err(sqlite)?;
    rows.map(|row| decode(row.map_err(sqlite)?)).collect()
}
