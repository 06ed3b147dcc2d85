//! Consumer groups: their records, how they are doing, and the port over the rooms that do the rest.

use async_trait::async_trait;
use domain::{
    Cursor, StorageFailure,
    group::{BlockedKey, Gap, GroupRecord, GroupSpec, GroupStatus, LaneBatch, MAX_SEGMENTS, NewLaneBatch},
    ports::{
        CommitOutcome, EnqueueOutcome, EventStoreError, GroupStore, GroupStoreError, LeaseRequest, Leases,
        ReplayLease, SegmentCommit,
    },
};
use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::{
    commits, cursor,
    failure::sqlite,
    group_status, lanes, leases,
    state::{State, from_micros},
    store::SqliteStore,
};

/// A group, with the number that its other rows go by.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) number: i64,
    pub(crate) record: GroupRecord,
}

/// Runs a statement that is used often; how many rows it changed.
pub(crate) fn execute(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<usize, StorageFailure> {
    connection.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(sqlite)
}

/// Reads JSON that this program wrote.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(text: &str, what: &str) -> Result<T, StorageFailure> {
    serde_json::from_str(text)
        .map_err(|error| StorageFailure::Corrupt(format!("{what} cannot be read: {error}")))
}

/// Writes JSON.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StorageFailure> {
    serde_json::to_string(value).map_err(|error| StorageFailure::Other(error.to_string()))
}

const SELECT: &str =
    "SELECT number, name, types, key, segments, created_at, seen_at, gaps FROM consumer_group";

type Columns = (i64, String, String, String, u16, i64, i64, String);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    row.try_into()
}

fn decode(
    (number, name, types, key, segments, created_at, seen_at, gaps): Columns,
) -> Result<Group, StorageFailure> {
    let what = format!("the group {name:?}");
    let spec = GroupSpec { types: from_json(&types, &what)?, key: from_json(&key, &what)?, segments, name };
    let record = GroupRecord {
        spec,
        created_at: from_micros(created_at),
        last_seen_at: from_micros(seen_at),
        gaps: from_json(&gaps, &what)?,
    };
    Ok(Group { number, record })
}

/// A group by name.
pub(crate) fn find(connection: &Connection, name: &str) -> Result<Option<Group>, StorageFailure> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE name = ?1"))
        .and_then(|mut statement| statement.query_row([name], columns).optional())
        .map_err(sqlite)?
        .map(decode)
        .transpose()
}

/// Every group, by name.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Group>, StorageFailure> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} ORDER BY name")).map_err(sqlite)?;
    let rows = statement.query_map([], columns).map_err(sqlite)?;
    rows.map(|row| decode(row.map_err(sqlite)?)).collect()
}

/// A group's number, which is all that most changes need.
pub(crate) fn number_of(connection: &Connection, name: &str) -> Result<Option<i64>, StorageFailure> {
    connection
        .prepare_cached("SELECT number FROM consumer_group WHERE name = ?1")
        .and_then(|mut statement| statement.query_row([name], |row| row.get(0)).optional())
        .map_err(sqlite)
}

/// Keeps the gaps of a group.
pub(crate) fn set_gaps(connection: &Connection, number: i64, gaps: &[Gap]) -> Result<(), StorageFailure> {
    let gaps = to_json(&gaps)?;
    execute(connection, "UPDATE consumer_group SET gaps = ?2 WHERE number = ?1", (number, gaps)).map(drop)
}

/// The sequence that a group is to stand at.
fn mark(connection: &Connection, state: &State, at: &Cursor) -> Result<u64, GroupStoreError> {
    cursor::resolve(connection, state, at).map_err(|error| match error {
        EventStoreError::Storage(failure) => failure.into(),
        other => GroupStoreError::BadCursor(other.to_string()),
    })
}

fn create(
    connection: &Connection,
    state: &State,
    spec: &GroupSpec,
    at: &Cursor,
    now: i64,
) -> Result<GroupRecord, GroupStoreError> {
    if let Some(mut found) = find(connection, &spec.name)? {
        let existing = &found.record.spec;
        if existing.key != spec.key || existing.segments != spec.segments {
            return Err(GroupStoreError::Differs {
                name: spec.name.clone(),
                existing: format!("the key {} and {} segments", key_in_words(existing)?, existing.segments),
            });
        }
        if existing.types != spec.types {
            let types = to_json(&spec.types)?;
            execute(
                connection,
                "UPDATE consumer_group SET types = ?2 WHERE number = ?1",
                (found.number, types),
            )?;
            found.record.spec.types.clone_from(&spec.types);
        }
        return Ok(found.record);
    }
    if !(1..=MAX_SEGMENTS).contains(&spec.segments) || !(1..=128).contains(&spec.name.len()) {
        let refusal = format!("a group has a name of 1 to 128 bytes and 1 to {MAX_SEGMENTS} segments");
        return Err(StorageFailure::Other(refusal).into());
    }
    let mark = mark(connection, state, at)?;
    let row = (&spec.name, to_json(&spec.types)?, to_json(&spec.key)?, spec.segments, now);
    execute(
        connection,
        "INSERT INTO consumer_group (name, types, key, segments, created_at, seen_at, gaps) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, '[]')",
        row,
    )?;
    let number = connection.last_insert_rowid();
    for segment in 0..spec.segments {
        execute(
            connection,
            "INSERT INTO segment (grp, segment, cursor, claimed_to, epoch, until, lane_end, lane_refs) \
             VALUES (?1, ?2, ?3, ?3, ?4, 0, 0, 0)",
            (number, segment, mark as i64, leases::first_epoch(number)),
        )?;
    }
    let made = from_micros(now);
    Ok(GroupRecord { spec: spec.clone(), created_at: made, last_seen_at: made, gaps: Vec::new() })
}

fn key_in_words(spec: &GroupSpec) -> Result<String, StorageFailure> {
    Ok(to_json(&spec.key)?.trim_matches('"').to_owned())
}

fn delete(connection: &Connection, name: &str, now: i64) -> Result<bool, StorageFailure> {
    let Some(number) = number_of(connection, name)? else { return Ok(false) };
    for sql in [
        "DELETE FROM segment WHERE grp = ?1",
        "DELETE FROM blocked WHERE grp = ?1",
        "DELETE FROM consumer WHERE grp = ?1",
        "DELETE FROM lane WHERE grp = ?1",
        // Results stay for their runner; what can have none any more goes.
        "DELETE FROM lane_batch WHERE grp = ?1 AND result IS NULL",
        "DELETE FROM consumer_group WHERE number = ?1",
    ] {
        execute(connection, sql, [number])?;
    }
    // What was on its way went with the lane: somebody has to look at it again.
    execute(
        connection,
        "UPDATE dead_letter SET state = 'open', updated_at = ?2 WHERE grp = ?1 AND state = 'redriving'",
        (name, now),
    )?;
    Ok(true)
}

fn reset(connection: &Connection, state: &State, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
    let number = number_of(connection, name)?.ok_or_else(|| GroupStoreError::NoGroup(name.to_owned()))?;
    let mark = mark(connection, state, at)?;
    execute(connection, "DELETE FROM blocked WHERE grp = ?1", [number])?;
    execute(
        connection,
        "UPDATE segment SET cursor = ?2, claimed_to = ?2, epoch = epoch + 1, token = NULL, holder = NULL, \
         until = 0 WHERE grp = ?1",
        (number, mark as i64),
    )?;
    Ok(set_gaps(connection, number, &[])?)
}

/// Hands an answer out of a transaction that is kept in any case: where it refuses, nothing was written.
type Answer<T> = Result<T, GroupStoreError>;

fn settle<T>(answer: Answer<T>) -> Result<Answer<T>, StorageFailure> {
    match answer {
        Err(GroupStoreError::Storage(failure)) => Err(failure),
        other => Ok(other),
    }
}

#[async_trait]
impl GroupStore for SqliteStore {
    async fn create_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<GroupRecord, GroupStoreError> {
        let (spec, at, now) = (spec.clone(), at.clone(), self.now());
        self.writer()
            .await?
            .transact(move |transaction, state, _| settle(create(transaction, state, &spec, &at, now)))
            .await?
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        self.reading(|connection, _| Ok(all(connection)?.into_iter().map(|group| group.record).collect()))
            .await
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        let (name, now) = (name.to_owned(), self.now());
        self.reading(move |connection, _| {
            let found = find(connection, &name)?;
            Ok(found.map(|group| group_status::status(connection, group, now)).transpose()?)
        })
        .await
    }

    async fn blocked_keys(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        let name = name.to_owned();
        self.reading(move |connection, _| {
            let Some(number) = number_of(connection, &name)? else { return Ok(Vec::new()) };
            Ok(commits::first_blocked(connection, number, limit)?)
        })
        .await
    }

    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError> {
        let (name, now) = (name.to_owned(), self.now());
        Ok(self.writer().await?.transact(move |transaction, _, _| delete(transaction, &name, now)).await?)
    }

    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        let (name, at) = (name.to_owned(), at.clone());
        self.writer()
            .await?
            .transact(move |transaction, state, _| settle(reset(transaction, state, &name, &at)))
            .await?
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        let (request, now) = (request.clone(), self.now());
        self.writer()
            .await?
            .transact_relaxed(move |transaction, _, _| settle(leases::lease(transaction, &request, now)))
            .await?
    }

    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError> {
        let (group, consumer) = (group.to_owned(), consumer.to_owned());
        Ok(self
            .writer()
            .await?
            .transact_relaxed(move |transaction, _, _| leases::leave(transaction, &group, &consumer, token))
            .await?)
    }

    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let (commits, now) = (commits.to_vec(), self.now());
        Ok(self
            .writer()
            .await?
            .transact_relaxed(move |transaction, _, _| commits::commit(transaction, &commits, now))
            .await?)
    }

    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        let (runner, batches) = (runner.cloned(), batches.to_vec());
        self.writer()
            .await?
            .transact_relaxed(move |transaction, _, _| {
                settle(lanes::enqueue(transaction, runner.as_ref(), &batches))
            })
            .await?
    }

    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        let (name, after) = (group.to_owned(), after.to_vec());
        self.reading(move |connection, _| {
            let Some(number) = number_of(connection, &name)? else { return Ok(Vec::new()) };
            Ok(lanes::batches(connection, number, &after, limit)?)
        })
        .await
    }

    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError> {
        let replay = replay_id.to_owned();
        Ok(self
            .writer()
            .await?
            .transact_relaxed(move |transaction, _, _| lanes::withdraw(transaction, &replay))
            .await?)
    }
}
