//! Leases on segments: extending what a consumer holds, taking its share, and giving back.

use domain::{
    StorageFailure,
    group::{Lease, SegmentState, fair_share},
    ports::{GroupStoreError, LeaseRequest, Leases},
};
use rusqlite::Connection;

use crate::{
    commits,
    failure::sqlite,
    groups::{self, execute},
    state::later,
};

/// A group that is deleted and made again gets another number: its epochs begin above all that were ever handed out
/// under its name, so that a lease of the deleted group is never mistaken for one of the new.
pub(crate) fn first_epoch(number: i64) -> i64 {
    number.saturating_mul(1 << 32)
}

/// A segment as leasing sees it.
struct Held {
    segment: u16,
    epoch: u64,
    /// Whether the asking consumer has it, in time or not: nobody took it since.
    mine: bool,
    /// Whether anybody may take it.
    free: bool,
}

/// Extends a consumer's leases and takes its share.
pub(crate) fn lease(
    connection: &Connection,
    request: &LeaseRequest,
    now: i64,
) -> Result<Leases, GroupStoreError> {
    let group = groups::find(connection, &request.group)?
        .ok_or_else(|| GroupStoreError::NoGroup(request.group.clone()))?;
    let until = later(now, request.duration);
    let alive = say_alive(connection, group.number, request, now, until)?;
    let share = fair_share(group.record.spec.segments, 0, &request.consumer, alive.iter().map(String::as_str));
    let segments = segments(connection, group.number, request, now)?;
    let mut leases = Leases { share, gaps: group.record.gaps, ..Leases::default() };
    for held in segments.iter().filter(|held| held.mine) {
        execute(
            connection,
            "UPDATE segment SET until = ?3 WHERE grp = ?1 AND segment = ?2",
            (group.number, held.segment, until),
        )?;
        leases.held.push(lease_of(request, held.segment, held.epoch));
    }
    let wanted = usize::from(share).saturating_sub(leases.held.len());
    for held in segments.iter().filter(|held| held.free).take(wanted) {
        let lease = lease_of(request, held.segment, held.epoch + 1);
        execute(
            connection,
            "UPDATE segment SET epoch = ?3, token = ?4, holder = ?5, until = ?6 WHERE grp = ?1 AND segment = ?2",
            (group.number, held.segment, lease.epoch as i64, lease.token as i64, &request.consumer, until),
        )?;
        leases.held.push(lease.clone());
        leases.taken.push((lease, state(connection, group.number, held.segment)?));
    }
    leases.held.sort_unstable_by_key(|lease| lease.segment);
    leases.surplus = Leases::beyond(share, &leases.held);
    Ok(leases)
}

fn lease_of(request: &LeaseRequest, segment: u16, epoch: u64) -> Lease {
    Lease { group: request.group.clone(), segment, epoch, token: request.token }
}

/// Notes that a consumer, and with it the group, was seen; the consumers that are alive.
fn say_alive(
    connection: &Connection,
    number: i64,
    request: &LeaseRequest,
    now: i64,
    until: i64,
) -> Result<Vec<String>, StorageFailure> {
    execute(connection, "UPDATE consumer_group SET seen_at = ?2 WHERE number = ?1", (number, now))?;
    execute(connection, "DELETE FROM consumer WHERE grp = ?1 AND until <= ?2", (number, now))?;
    execute(
        connection,
        "INSERT OR REPLACE INTO consumer (grp, name, token, until) VALUES (?1, ?2, ?3, ?4)",
        (number, &request.consumer, request.token as i64, until),
    )?;
    let mut statement = connection
        .prepare_cached("SELECT name FROM consumer WHERE grp = ?1 AND until > ?2 ORDER BY name")
        .map_err(sqlite)?;
    let names = statement.query_map((number, now), |row| row.get(0)).map_err(sqlite)?;
    names.collect::<Result<_, _>>().map_err(sqlite)
}

fn segments(
    connection: &Connection,
    number: i64,
    request: &LeaseRequest,
    now: i64,
) -> Result<Vec<Held>, StorageFailure> {
    let mut statement = connection
        .prepare_cached(
            "SELECT segment, epoch, holder IS NOT NULL AND token = ?2 AND holder = ?3, \
             holder IS NULL OR until <= ?4 FROM segment WHERE grp = ?1 ORDER BY segment",
        )
        .map_err(sqlite)?;
    let rows = statement
        .query_map((number, request.token as i64, &request.consumer, now), |row| {
            let mine = row.get(2)?;
            Ok(Held {
                segment: row.get(0)?,
                epoch: row.get::<_, i64>(1)? as u64,
                mine,
                free: !mine && row.get::<_, bool>(3)?,
            })
        })
        .map_err(sqlite)?;
    rows.collect::<Result<_, _>>().map_err(sqlite)
}

/// What a segment holds, as the last commit left it.
fn state(connection: &Connection, number: i64, segment: u16) -> Result<SegmentState, StorageFailure> {
    let (cursor, claimed_to): (i64, i64) = connection
        .prepare_cached("SELECT cursor, claimed_to FROM segment WHERE grp = ?1 AND segment = ?2")
        .and_then(|mut statement| {
            statement.query_row((number, segment), |row| Ok((row.get(0)?, row.get(1)?)))
        })
        .map_err(sqlite)?;
    Ok(SegmentState {
        partition: 0,
        cursor: cursor as u64,
        claimed_to: claimed_to as u64,
        blocked: commits::ledger(connection, number, segment)?,
    })
}

/// Forgets a consumer and frees what it holds under its token.
pub(crate) fn leave(
    connection: &Connection,
    group: &str,
    consumer: &str,
    token: u64,
) -> Result<(), StorageFailure> {
    let Some(number) = groups::number_of(connection, group)? else { return Ok(()) };
    for sql in [
        "UPDATE segment SET holder = NULL, until = 0 WHERE grp = ?1 AND holder = ?2 AND token = ?3",
        "DELETE FROM consumer WHERE grp = ?1 AND name = ?2 AND token = ?3",
    ] {
        execute(connection, sql, (number, consumer, token as i64))?;
    }
    Ok(())
}

/// Ends every lease: whoever holds one was of another history of this store.
pub(crate) fn fence_all(connection: &Connection) -> Result<(), StorageFailure> {
    connection
        .execute_batch(
            "UPDATE segment SET epoch = epoch + 1, token = NULL, holder = NULL, until = 0; \
             DELETE FROM consumer;",
        )
        .map_err(sqlite)
}
