//! Replay counts, and the records of replays.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    Cursor, Position, StorageFailure,
    group::LaneResult,
    ports::{
        ReplayLease, ReplayRecord, ReplayState, ReplayStore, ReplayStoreError, ReplayUpdate, ReplayWish,
    },
};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Row};

use crate::{
    failure::sqlite,
    groups::execute,
    lanes,
    state::{exact, from_exact, later, micros},
    store::SqliteStore,
};

const STATES: [(ReplayState, &str); 7] = [
    (ReplayState::Planned, "PLANNED"),
    (ReplayState::Running, "RUNNING"),
    (ReplayState::Paused, "PAUSED"),
    (ReplayState::Cancelling, "CANCELLING"),
    (ReplayState::Cancelled, "CANCELLED"),
    (ReplayState::Completed, "COMPLETED"),
    (ReplayState::Failed, "FAILED"),
];

/// In SQL: a replay is not over.
const NOT_OVER: &str = "state IN ('PLANNED', 'RUNNING', 'PAUSED', 'CANCELLING')";

fn state_column(state: ReplayState) -> &'static str {
    STATES.iter().find(|(known, _)| *known == state).map_or("", |(_, column)| column)
}

fn state_of(column: &str) -> Result<ReplayState, StorageFailure> {
    STATES
        .iter()
        .find(|(_, known)| *known == column)
        .map(|(state, _)| *state)
        .ok_or_else(|| StorageFailure::Corrupt(format!("a replay is in no state, but {column:?}")))
}

const SELECT: &str = "SELECT id, state, created_at, updated_at, plan, progress, hold FROM replay_job";

type Columns = (String, String, String, String, String, String, Option<String>);

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    row.try_into()
}

fn decode(
    (id, state, created_at, updated_at, plan, progress, hold): Columns,
) -> Result<ReplayRecord, StorageFailure> {
    Ok(ReplayRecord {
        state: state_of(&state)?,
        created_at: from_exact(&created_at)?,
        updated_at: from_exact(&updated_at)?,
        plan,
        progress,
        hold: hold.map(|hold| mark(&id, &hold)).transpose()?,
        id,
    })
}

fn mark(id: &str, hold: &str) -> Result<Cursor, StorageFailure> {
    hold.parse().map_err(|_| StorageFailure::Corrupt(format!("the hold of replay {id} is damaged")))
}

fn select(
    connection: &Connection,
    rest: &str,
    params: impl Params,
) -> Result<Vec<ReplayRecord>, StorageFailure> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} {rest}")).map_err(sqlite)?;
    let rows = statement.query_map(params, columns).map_err(sqlite)?;
    rows.map(|row| decode(row.map_err(sqlite)?)).collect()
}

/// The marks that running and waiting replays hold, each with what it is called.
pub(crate) fn holding(connection: &Connection) -> Result<Vec<(Cursor, String)>, StorageFailure> {
    let mut statement = connection
        .prepare_cached(&format!(
            "SELECT id, hold FROM replay_job WHERE hold IS NOT NULL AND {NOT_OVER} ORDER BY created_at, id"
        ))
        .map_err(sqlite)?;
    let rows = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
        .map_err(sqlite)?;
    rows.map(|row| {
        let (id, hold) = row.map_err(sqlite)?;
        Ok((mark(&id, &hold)?, format!("replay {id}")))
    })
    .collect()
}

/// Whether a lease is its replay's newest.
pub(crate) fn is_newest(connection: &Connection, lease: &ReplayLease) -> Result<bool, StorageFailure> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM replay_job WHERE id = ?1 AND epoch = ?2 AND token = ?3)",
        )
        .and_then(|mut statement| {
            statement.query_row((&lease.replay_id, lease.epoch as i64, lease.token as i64), |row| row.get(0))
        })
        .map_err(sqlite)
}

/// Ends every runner's lease: whoever holds one was of another history of this store.
pub(crate) fn fence_all(connection: &Connection) -> Result<(), StorageFailure> {
    connection
        .execute_batch("UPDATE replay_job SET epoch = epoch + 1, token = NULL, until = 0")
        .map_err(sqlite)
}

fn create(connection: &Connection, record: &ReplayRecord) -> Result<bool, StorageFailure> {
    let row = (
        &record.id,
        state_column(record.state),
        exact(record.created_at),
        exact(record.updated_at),
        &record.plan,
        &record.progress,
        record.hold.as_ref().map(Cursor::to_string),
    );
    let created = execute(
        connection,
        "INSERT INTO replay_job (id, state, created_at, updated_at, plan, progress, hold, epoch, until, settled) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0) ON CONFLICT DO NOTHING",
        row,
    )?;
    Ok(created > 0)
}

/// Who runs a replay, and in which state it is.
struct Runner {
    state: ReplayState,
    epoch: u64,
    token: Option<u64>,
    /// Until when its lease is good, in microseconds.
    until: i64,
}

impl Runner {
    /// The token of whoever has a lease that is still good.
    fn holder(&self, now: i64) -> Option<u64> {
        self.token.filter(|_| self.until > now)
    }
}

fn runner(connection: &Connection, id: &str) -> Result<Option<Runner>, StorageFailure> {
    let found = connection
        .prepare_cached("SELECT state, epoch, token, until FROM replay_job WHERE id = ?1")
        .and_then(|mut statement| {
            statement.query_row([id], |row| <(String, i64, Option<i64>, i64)>::try_from(row)).optional()
        })
        .map_err(sqlite)?;
    let Some((state, epoch, token, until)) = found else { return Ok(None) };
    let token = token.map(|token| token as u64);
    Ok(Some(Runner { state: state_of(&state)?, epoch: epoch as u64, token, until }))
}

fn lease(
    connection: &Connection,
    id: &str,
    token: u64,
    now: i64,
    until: i64,
) -> Result<Option<ReplayLease>, StorageFailure> {
    let Some(runner) = runner(connection, id)?.filter(|runner| !runner.state.is_final()) else {
        return Ok(None);
    };
    let epoch = match runner.holder(now) {
        Some(holder) if holder == token => runner.epoch,
        Some(_) => return Ok(None),
        // Its own that is over, too, is followed by a new one: whoever was away learns of it.
        None => runner.epoch + 1,
    };
    execute(
        connection,
        "UPDATE replay_job SET epoch = ?2, token = ?3, until = ?4 WHERE id = ?1",
        (id, epoch as i64, token as i64, until),
    )?;
    Ok(Some(ReplayLease { replay_id: id.to_owned(), epoch, token }))
}

/// The state after a runner's step: what was wished meanwhile stays, until the runner answers it.
fn after_step(now: ReplayState, step: ReplayState) -> ReplayState {
    match (now, step) {
        (_, step) if step.is_final() => step,
        (ReplayState::Cancelling | ReplayState::Paused, _) => now,
        _ => step,
    }
}

/// Keeps a runner's step; none where its lease is not the newest.
fn update(
    connection: &Connection,
    lease: &ReplayLease,
    update: &ReplayUpdate,
    at: Timestamp,
) -> Result<Option<ReplayState>, StorageFailure> {
    let newest = |runner: &Runner| runner.epoch == lease.epoch && runner.token == Some(lease.token);
    let Some(runner) = runner(connection, &lease.replay_id)?.filter(newest) else { return Ok(None) };
    let state = after_step(runner.state, update.state);
    let settled = i64::try_from(update.settled_batches).unwrap_or(i64::MAX);
    execute(
        connection,
        "UPDATE replay_job SET state = ?2, updated_at = ?3, progress = ?4, hold = ?5, \
         settled = max(settled, ?6), token = iif(?7, NULL, token), until = iif(?7, 0, until) WHERE id = ?1",
        (
            &lease.replay_id,
            state_column(state),
            exact(at),
            &update.progress,
            update.hold.as_ref().map(Cursor::to_string),
            settled,
            state.is_final(),
        ),
    )?;
    execute(
        connection,
        "DELETE FROM lane_batch WHERE replay = ?1 AND batch < ?2 AND result IS NOT NULL",
        (&lease.replay_id, settled),
    )?;
    Ok(Some(state))
}

/// The state after somebody's wish, of a replay that is not over.
fn after_wish(state: ReplayState, wish: ReplayWish, is_run: bool) -> ReplayState {
    match (wish, state) {
        (ReplayWish::Cancel, _) if is_run => ReplayState::Cancelling,
        (ReplayWish::Cancel, _) => ReplayState::Cancelled,
        (ReplayWish::Pause, ReplayState::Planned | ReplayState::Running) => ReplayState::Paused,
        (ReplayWish::Resume, ReplayState::Paused) => ReplayState::Planned,
        _ => state,
    }
}

fn wish(
    connection: &Connection,
    id: &str,
    wish: ReplayWish,
    at: Timestamp,
) -> Result<Option<ReplayState>, StorageFailure> {
    let Some(runner) = runner(connection, id)? else { return Ok(None) };
    if runner.state.is_final() {
        return Ok(Some(runner.state));
    }
    let state = after_wish(runner.state, wish, runner.holder(micros(at)).is_some());
    if state != runner.state {
        execute(
            connection,
            "UPDATE replay_job SET state = ?2, updated_at = ?3, token = iif(?4, NULL, token), \
             until = iif(?4, 0, until) WHERE id = ?1",
            (id, state_column(state), exact(at), state.is_final()),
        )?;
    }
    Ok(Some(state))
}

fn delete(connection: &Connection, id: &str) -> Result<bool, StorageFailure> {
    let deleted =
        execute(connection, &format!("DELETE FROM replay_job WHERE id = ?1 AND NOT {NOT_OVER}"), [id])?;
    if deleted > 0 {
        execute(connection, "DELETE FROM lane_batch WHERE replay = ?1", [id])?;
    }
    Ok(deleted > 0)
}

fn count_replayed(
    connection: &Connection,
    positions: &[Position],
    at: Timestamp,
) -> Result<(), StorageFailure> {
    for position in positions.iter().filter(|position| position.partition == 0) {
        // Only positions that still hold an event get a count.
        execute(
            connection,
            "INSERT INTO replay (seq, count, at) SELECT seq, 1, ?2 FROM event WHERE seq = ?1 \
             ON CONFLICT (seq) DO UPDATE SET count = count + 1, at = excluded.at",
            (position.sequence as i64, micros(at)),
        )?;
    }
    Ok(())
}

#[async_trait]
impl ReplayStore for SqliteStore {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        let mut positions = positions.to_vec();
        positions.sort_unstable();
        positions.dedup();
        Ok(self
            .writer()
            .await?
            .transact_relaxed(move |transaction, _, _| count_replayed(transaction, &positions, at))
            .await?)
    }

    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError> {
        let (record, id) = (record.clone(), record.id.clone());
        let created =
            self.writer().await?.transact(move |transaction, _, _| create(transaction, &record)).await?;
        if created { Ok(()) } else { Err(ReplayStoreError::Exists(id)) }
    }

    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError> {
        let id = id.to_owned();
        self.reading(move |connection, _| Ok(select(connection, "WHERE id = ?1", [id])?.pop())).await
    }

    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.reading(move |connection, _| {
            Ok(select(connection, "ORDER BY created_at DESC, id DESC LIMIT ?1", [limit])?)
        })
        .await
    }

    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let now = self.now();
        self.reading(move |connection, _| {
            let rest = format!("WHERE {NOT_OVER} AND (token IS NULL OR until <= ?1) ORDER BY created_at, id");
            Ok(select(connection, &rest, [now])?)
        })
        .await
    }

    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        let (id, now) = (id.to_owned(), self.now());
        Ok(self
            .writer()
            .await?
            .transact_relaxed(move |transaction, _, _| {
                lease(transaction, &id, token, now, later(now, duration))
            })
            .await?)
    }

    async fn update_replay(
        &self,
        lease: &ReplayLease,
        step: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError> {
        let (lease, step, at) = (lease.clone(), step.clone(), self.clock().now());
        self.writer()
            .await?
            .transact(move |transaction, _, _| update(transaction, &lease, &step, at))
            .await?
            .ok_or(ReplayStoreError::Fenced)
    }

    async fn wish(&self, id: &str, wanted: ReplayWish) -> Result<Option<ReplayState>, ReplayStoreError> {
        let (id, at) = (id.to_owned(), self.clock().now());
        Ok(self.writer().await?.transact(move |transaction, _, _| wish(transaction, &id, wanted, at)).await?)
    }

    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError> {
        let id = id.to_owned();
        self.reading(move |connection, _| Ok(lanes::results(connection, &id, limit)?)).await
    }

    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError> {
        let id = id.to_owned();
        Ok(self.writer().await?.transact(move |transaction, _, _| delete(transaction, &id)).await?)
    }
}
