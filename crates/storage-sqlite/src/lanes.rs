//! Replay lanes: batches of references, their progress, and the results that they leave to their replays.

use domain::{
    StorageFailure,
    group::{LaneBatch, LaneOrigin, LaneProgress, LaneResult, MAX_LANE_REFERENCES, NewLaneBatch},
    ports::{EnqueueOutcome, GroupStoreError, ReplayLease},
};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{
    failure::sqlite,
    groups::{self, execute, from_json, to_json},
    replays,
    verify_groups::Found,
};

/// The place of a batch: the group's number, the segment, and its number in the segment's lane.
pub(crate) type Place = (i64, u16, u64);

/// Puts references into lanes.
pub(crate) fn enqueue(
    connection: &Connection,
    runner: Option<&ReplayLease>,
    batches: &[NewLaneBatch],
) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
    if let Some(lease) = runner
        && !replays::is_newest(connection, lease)?
    {
        return Err(GroupStoreError::RunnerFenced);
    }
    batches.iter().map(|batch| Ok(enqueue_one(connection, batch)?)).collect()
}

fn enqueue_one(connection: &Connection, batch: &NewLaneBatch) -> Result<EnqueueOutcome, StorageFailure> {
    let Some(number) = groups::number_of(connection, &batch.group)? else {
        return Ok(EnqueueOutcome::NoGroup);
    };
    let Some(waiting) = references(connection, number, batch.segment)? else {
        return Ok(EnqueueOutcome::NoGroup);
    };
    if let LaneOrigin::Replay { replay_id, batch: of } = &batch.origin
        && was_taken(connection, replay_id, *of, (number, batch.segment))?
    {
        return Ok(EnqueueOutcome::AlreadyQueued);
    }
    if waiting > 0 && waiting.saturating_add(batch.positions.len()) > MAX_LANE_REFERENCES {
        return Ok(EnqueueOutcome::Full);
    }
    put(connection, number, batch)?;
    Ok(EnqueueOutcome::Queued)
}

/// How many references a segment's lane holds; none where there is no such segment.
fn references(connection: &Connection, number: i64, segment: u16) -> Result<Option<usize>, StorageFailure> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT lane_refs FROM segment WHERE grp = ?1 AND segment = ?2")
        .and_then(|mut statement| statement.query_row((number, segment), |row| row.get(0)).optional())
        .map_err(sqlite)?;
    Ok(found.map(|references| references as usize))
}

/// Whether a segment has had a batch of a replay. What the runner has settled is not kept one by one any more.
fn was_taken(
    connection: &Connection,
    replay: &str,
    batch: u64,
    (number, segment): (i64, u16),
) -> Result<bool, StorageFailure> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM lane_batch WHERE replay = ?1 AND batch = ?2 AND grp = ?3 AND segment = ?4) \
             OR EXISTS (SELECT 1 FROM replay_job WHERE id = ?1 AND settled > ?2)",
        )
        .and_then(|mut statement| {
            statement.query_row((replay, batch as i64, number, segment), |row| row.get(0))
        })
        .map_err(sqlite)
}

/// Puts a batch at the end of its segment's lane, whatever is in it.
pub(crate) fn put(connection: &Connection, number: i64, batch: &NewLaneBatch) -> Result<(), StorageFailure> {
    let seq: i64 = connection
        .prepare_cached(
            "UPDATE segment SET lane_end = lane_end + 1, lane_refs = lane_refs + ?3 \
             WHERE grp = ?1 AND segment = ?2 RETURNING lane_end",
        )
        .and_then(|mut statement| {
            statement.query_row((number, batch.segment, batch.positions.len() as i64), |row| row.get(0))
        })
        .map_err(sqlite)?;
    let replay = match &batch.origin {
        LaneOrigin::Replay { replay_id, batch: of } => {
            execute(
                connection,
                "INSERT INTO lane_batch (replay, batch, grp, segment) VALUES (?1, ?2, ?3, ?4)",
                (replay_id, *of as i64, number, batch.segment),
            )?;
            Some(replay_id)
        }
        LaneOrigin::Redrive { .. } | LaneOrigin::Discarded { .. } => None,
    };
    let (first, rest) = encode(&batch.positions);
    execute(
        connection,
        "INSERT INTO lane (grp, segment, seq, replay, origin, refs, first, rest, touched, progress) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9)",
        (
            number,
            batch.segment,
            seq,
            replay,
            to_json(&batch.origin)?,
            batch.positions.len() as i64,
            first as i64,
            rest,
            to_json(&LaneProgress::default())?,
        ),
    )?;
    Ok(())
}

/// Keeps how far a batch is; false where it has left the lane.
pub(crate) fn progress(
    connection: &Connection,
    (number, segment, seq): Place,
    progress: &LaneProgress,
) -> Result<bool, StorageFailure> {
    let touched = progress.claimed_to > 0 || *progress != LaneProgress::default();
    let changed = execute(
        connection,
        "UPDATE lane SET progress = ?4, touched = ?5 WHERE grp = ?1 AND segment = ?2 AND seq = ?3",
        (number, segment, seq as i64, to_json(progress)?, touched),
    )?;
    Ok(changed > 0)
}

/// Takes a batch that is done out of its lane, and keeps its result for its replay, if that is still there.
pub(crate) fn finish(
    connection: &Connection,
    group: &str,
    (number, segment, seq): Place,
    progress: &LaneProgress,
) -> Result<(), StorageFailure> {
    let found = connection
        .prepare_cached(&format!("{SELECT} WHERE grp = ?1 AND segment = ?2 AND seq = ?3"))
        .and_then(|mut statement| statement.query_row((number, segment, seq as i64), columns).optional())
        .map_err(sqlite)?;
    // Whoever commits a second time after a lost answer has done it already.
    let Some(found) = found else { return Ok(()) };
    let batch = LaneBatch { progress: progress.clone(), ..decode(found)? };
    remove(connection, (number, segment, seq), batch.positions.len())?;
    if let LaneOrigin::Replay { replay_id, batch: of } = &batch.origin
        && let Some(result) = batch.result(group)
    {
        execute(
            connection,
            "UPDATE lane_batch SET result = ?5 WHERE replay = ?1 AND batch = ?2 AND grp = ?3 AND segment = ?4",
            (replay_id, *of as i64, number, segment, to_json(&result)?),
        )?;
    }
    Ok(())
}

fn remove(
    connection: &Connection,
    (number, segment, seq): Place,
    references: usize,
) -> Result<(), StorageFailure> {
    execute(
        connection,
        "DELETE FROM lane WHERE grp = ?1 AND segment = ?2 AND seq = ?3",
        (number, segment, seq as i64),
    )?;
    execute(
        connection,
        "UPDATE segment SET lane_refs = max(lane_refs - ?3, 0) WHERE grp = ?1 AND segment = ?2",
        (number, segment, references as i64),
    )?;
    Ok(())
}

const SELECT: &str = "SELECT segment, seq, origin, refs, first, rest, progress FROM lane";

type Columns = (u16, i64, String, i64, i64, Vec<u8>, String);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    row.try_into()
}

fn decode((segment, seq, origin, refs, first, rest, progress): Columns) -> Result<LaneBatch, StorageFailure> {
    let what = || format!("the batch {seq} in the lane of segment {segment}");
    let positions = decode_positions(refs as usize, first as u64, &rest)
        .ok_or_else(|| StorageFailure::Corrupt(format!("{} has damaged references", what())))?;
    Ok(LaneBatch {
        seq: seq as u64,
        segment,
        origin: from_json(&origin, &what())?,
        positions,
        progress: from_json(&progress, &what())?,
    })
}

/// Batches of a group's lanes after the places given: one of each segment that has any, and then no more than about
/// `limit` references.
pub(crate) fn batches(
    connection: &Connection,
    number: i64,
    after: &[(u16, u64)],
    limit: usize,
) -> Result<Vec<LaneBatch>, StorageFailure> {
    // Asked many times a second, and mostly there is nothing.
    let any: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM lane WHERE grp = ?1)")
        .and_then(|mut statement| statement.query_row([number], |row| row.get(0)))
        .map_err(sqlite)?;
    if !any {
        return Ok(Vec::new());
    }
    let mut statement = connection
        .prepare_cached(&format!(
            "{SELECT} WHERE grp = ?1 AND segment = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4"
        ))
        .map_err(sqlite)?;
    let mut found = Vec::new();
    let mut places = after.to_vec();
    for (segment, place) in &mut places {
        for row in statement.query_map((number, *segment, *place as i64, 1), columns).map_err(sqlite)? {
            let batch = decode(row.map_err(sqlite)?)?;
            *place = batch.seq;
            found.push(batch);
        }
    }
    let mut left = limit.saturating_sub(found.iter().map(|batch| batch.positions.len()).sum());
    for (segment, place) in places {
        let mut rows = statement.query((number, segment, place as i64, -1)).map_err(sqlite)?;
        while left > 0
            && let Some(row) = rows.next().map_err(sqlite)?
        {
            let batch = decode(columns(row).map_err(sqlite)?)?;
            left = left.saturating_sub(batch.positions.len().max(1));
            found.push(batch);
        }
    }
    found.sort_unstable_by_key(|batch| (batch.segment, batch.seq));
    Ok(found)
}

/// Every position that a group's lanes refer to.
pub(crate) fn positions(connection: &Connection, number: i64) -> Result<Vec<u64>, StorageFailure> {
    let mut statement =
        connection.prepare_cached("SELECT refs, first, rest FROM lane WHERE grp = ?1").map_err(sqlite)?;
    let rows = statement.query_map([number], |row| <(i64, i64, Vec<u8>)>::try_from(row)).map_err(sqlite)?;
    let mut positions = Vec::new();
    for row in rows {
        let (references, first, rest) = row.map_err(sqlite)?;
        // Of damaged references the first is better than none.
        let of_batch = decode_positions(references as usize, first as u64, &rest);
        positions.extend(of_batch.unwrap_or_else(|| vec![first as u64]));
    }
    Ok(positions)
}

/// Batches that cannot be read.
pub(crate) fn unreadable(connection: &Connection) -> Result<Vec<Found>, StorageFailure> {
    let mut statement = connection.prepare(SELECT).map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite)? {
        match columns(row).map_err(sqlite).and_then(decode) {
            Err(StorageFailure::Corrupt(detail)) => found.push((None, detail)),
            other => drop(other?),
        }
    }
    Ok(found)
}

/// Takes a replay's batches of which nothing was handed over out of all lanes; how many references they had.
pub(crate) fn withdraw(connection: &Connection, replay: &str) -> Result<u64, StorageFailure> {
    let untouched = {
        let mut statement = connection
            .prepare_cached("SELECT grp, segment, seq, refs FROM lane WHERE replay = ?1 AND NOT touched")
            .map_err(sqlite)?;
        let rows =
            statement.query_map([replay], |row| <(i64, u16, i64, i64)>::try_from(row)).map_err(sqlite)?;
        rows.collect::<Result<Vec<_>, _>>().map_err(sqlite)?
    };
    let mut withdrawn = 0;
    for (number, segment, seq, references) in untouched {
        remove(connection, (number, segment, seq as u64), references as usize)?;
        withdrawn += references as u64;
    }
    Ok(withdrawn)
}

/// Results that groups' commits left for a replay, by batch.
pub(crate) fn results(
    connection: &Connection,
    replay: &str,
    limit: usize,
) -> Result<Vec<LaneResult>, StorageFailure> {
    let mut statement = connection
        .prepare_cached(
            "SELECT result FROM lane_batch WHERE replay = ?1 AND result IS NOT NULL \
             ORDER BY batch, grp, segment LIMIT ?2",
        )
        .map_err(sqlite)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let rows = statement.query_map((replay, limit), |row| row.get::<_, String>(0)).map_err(sqlite)?;
    rows.map(|row| from_json(&row.map_err(sqlite)?, "the result of a replay's batch")).collect()
}

/// Positions as the first one and the differences of the others.
fn encode(positions: &[u64]) -> (u64, Vec<u8>) {
    let mut rest = Vec::with_capacity(positions.len() * 2);
    for pair in positions.windows(2) {
        let mut difference = pair[1].wrapping_sub(pair[0]);
        while difference >= 0x80 {
            rest.push(difference as u8 | 0x80);
            difference >>= 7;
        }
        rest.push(difference as u8);
    }
    (positions.first().copied().unwrap_or(0), rest)
}

fn decode_positions(count: usize, first: u64, rest: &[u8]) -> Option<Vec<u64>> {
    let mut positions = Vec::with_capacity(count.min(rest.len() + 1));
    let (mut last, mut difference, mut shift) = (first, 0u64, 0u32);
    positions.extend((count > 0).then_some(first));
    for byte in rest {
        difference |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            last = last.wrapping_add(difference);
            positions.push(last);
            (difference, shift) = (0, 0);
        }
    }
    (shift == 0 && positions.len() == count).then_some(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_back_as_they_were() {
        for positions in [vec![], vec![7], vec![1, 2, 3, 1 << 40], vec![9, 3, u64::MAX, 0]] {
            let (first, rest) = encode(&positions);
            assert_eq!(decode_positions(positions.len(), first, &rest), Some(positions));
        }
        assert_eq!(decode_positions(2, 1, &[]), None);
        assert_eq!(decode_positions(2, 1, &[0x80]), None);
    }
}
