//! How a consumer group is doing: its segments and consumers, counted.

use domain::{
    StorageFailure,
    group::{ConsumerStatus, GroupStatus, SegmentStatus},
};
use rusqlite::Connection;

use crate::{failure::sqlite, groups::Group, state::from_micros};

/// How a group is doing.
pub(crate) fn status(connection: &Connection, group: Group, now: i64) -> Result<GroupStatus, StorageFailure> {
    Ok(GroupStatus {
        segments: segments(connection, group.number, now)?,
        consumers: consumers(connection, group.number, now)?,
        record: group.record,
        unreachable: Vec::new(),
    })
}

fn segments(connection: &Connection, number: i64, now: i64) -> Result<Vec<SegmentStatus>, StorageFailure> {
    let mut statement = connection
        .prepare_cached(
            "SELECT segment, iif(until > ?2, holder, NULL), cursor, lane_refs, ifnull(keys, 0), \
             ifnull(parked, 0), oldest FROM segment LEFT JOIN \
             (SELECT segment AS of, count(*) AS keys, sum(due IS NULL) AS parked, min(position) AS oldest \
              FROM blocked WHERE grp = ?1 GROUP BY segment) ON of = segment WHERE grp = ?1 ORDER BY segment",
        )
        .map_err(sqlite)?;
    let rows = statement
        .query_map((number, now), |row| {
            let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
            Ok(SegmentStatus {
                segment: row.get(0)?,
                partition: 0,
                consumer: row.get(1)?,
                cursor: number(2)?,
                lane: number(3)?,
                blocked_keys: number(4)?,
                parked_keys: number(5)?,
                oldest_blocked: row.get::<_, Option<i64>>(6)?.map(|position| position as u64),
            })
        })
        .map_err(sqlite)?;
    rows.collect::<Result<_, _>>().map_err(sqlite)
}

fn consumers(connection: &Connection, number: i64, now: i64) -> Result<Vec<ConsumerStatus>, StorageFailure> {
    let mut statement = connection
        .prepare_cached(
            "SELECT name, until, (SELECT count(*) FROM segment s \
             WHERE s.grp = c.grp AND s.holder = c.name AND s.until > ?2) \
             FROM consumer c WHERE grp = ?1 AND until > ?2 ORDER BY name",
        )
        .map_err(sqlite)?;
    let rows = statement
        .query_map((number, now), |row| {
            Ok(ConsumerStatus {
                name: row.get(0)?,
                alive_until: from_micros(row.get(1)?),
                segments: row.get(2)?,
            })
        })
        .map_err(sqlite)?;
    rows.collect::<Result<_, _>>().map_err(sqlite)
}
