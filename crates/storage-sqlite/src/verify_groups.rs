//! Verification of what stands beside the log: ledgers and lanes belong to segments, and copies of events can be read.

use domain::{
    Position, StorageFailure,
    ports::{EventStoreError, VerifyReport},
};
use rusqlite::Connection;

use crate::{dead_letter_rows, failure::sqlite, groups, lanes, schedule, store::SqliteStore};

/// Something that is not as it must be, and where, if it is about an event.
pub(crate) type Found = (Option<u64>, String);

/// Rows that belong to no segment, by what they are.
const STRAYS: [(&str, &str); 3] =
    [("a ledger's row", "blocked"), ("a batch in a lane", "lane"), ("a segment", "segment")];

/// Adds what is found to a report.
pub(crate) async fn check(store: &SqliteStore, report: &mut VerifyReport) -> Result<(), EventStoreError> {
    let found = store
        .reading(|connection, _| {
            let mut found = strays(connection)?;
            found.extend(segments(connection)?);
            found.extend(dead_letter_rows::unreadable(connection)?);
            found.extend(schedule::unreadable(connection)?);
            found.extend(lanes::unreadable(connection)?);
            Ok::<_, EventStoreError>(found)
        })
        .await?;
    for (seq, detail) in found {
        report.add(seq.map(|seq| Position::new(0, seq)), detail);
    }
    Ok(())
}

fn strays(connection: &Connection) -> Result<Vec<Found>, StorageFailure> {
    let mut found = Vec::new();
    for (what, table) in STRAYS {
        let mut statement = connection
            .prepare(&format!(
                "SELECT grp, segment, count(*) FROM {table} t WHERE NOT EXISTS (SELECT 1 FROM consumer_group g \
                 JOIN segment s ON s.grp = g.number WHERE g.number = t.grp AND s.segment = t.segment) \
                 GROUP BY grp, segment"
            ))
            .map_err(sqlite)?;
        let rows = statement.query_map([], |row| <(i64, i64, i64)>::try_from(row)).map_err(sqlite)?;
        for row in rows {
            let (group, segment, count) = row.map_err(sqlite)?;
            let of = format!("segment {segment} of the group with number {group}, which does not exist");
            found.push((None, format!("{what} belongs to {of} ({count} such)")));
        }
    }
    Ok(found)
}

/// Every group can be read, and has the segments that it says.
fn segments(connection: &Connection) -> Result<Vec<Found>, StorageFailure> {
    let mut found = Vec::new();
    let names = {
        let mut statement =
            connection.prepare("SELECT name FROM consumer_group ORDER BY name").map_err(sqlite)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).map_err(sqlite)?;
        rows.collect::<Result<Vec<_>, _>>().map_err(sqlite)?
    };
    for name in names {
        let group = match groups::find(connection, &name) {
            Ok(Some(group)) => group,
            Ok(None) => continue,
            Err(StorageFailure::Corrupt(detail)) => {
                found.push((None, detail));
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let (segments, references): (i64, i64) = connection
            .query_row(
                "SELECT count(*), ifnull(sum(lane_refs), 0) FROM segment WHERE grp = ?1",
                [group.number],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(sqlite)?;
        if segments != i64::from(group.record.spec.segments) {
            let said = group.record.spec.segments;
            found.push((None, format!("the group {name:?} has {segments} segments of {said}")));
        }
        let held: i64 = connection
            .query_row("SELECT ifnull(sum(refs), 0) FROM lane WHERE grp = ?1", [group.number], |row| {
                row.get(0)
            })
            .map_err(sqlite)?;
        if references != held {
            found.push((
                None,
                format!("the lanes of the group {name:?} count {references} references and hold {held}"),
            ));
        }
    }
    Ok(found)
}
