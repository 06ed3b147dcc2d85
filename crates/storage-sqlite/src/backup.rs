//! Backup and restore: complete copies of the file, made while other processes use it.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use domain::{
    StorageFailure,
    ports::engine::{RemovalKind, SpaceKind},
    time::unix_micros,
};
use rusqlite::{Connection, backup::Backup};

use crate::{
    connection::{self, Role},
    failure::sqlite,
    file::{SqliteEngine, SqliteOptions, blocking},
    index::terms::Kinds,
    layout::{self, Found},
    log::{fold::Tail, ids, read},
    rows::KnownRows,
    scratch::{COMPANIONS, Scratch, io, private_file, with_ending},
    state::State,
    writer::change::Change,
};

/// The result of a restore.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The restored store.
    pub engine: SqliteEngine,
    /// The path to which an unreadable previous store was moved.
    pub damaged_kept_at: Option<PathBuf>,
}

impl SqliteEngine {
    /// Copies the current state of the store to a new file. Returns the size of the copy in bytes.
    ///
    /// # Errors
    /// Returns [`StorageFailure::Denied`] if the file exists already. Also fails if the copy cannot be written.
    pub async fn backup_to(&self, path: &Path) -> Result<u64, StorageFailure> {
        let (from, to) = (self.path().to_owned(), path.to_owned());
        blocking(move || {
            if COMPANIONS.iter().any(|ending| with_ending(&to, ending).exists()) {
                return Err(StorageFailure::Denied(format!("{} exists already", to.display())));
            }
            let source = connection::open(&from, Role::Read)?;
            let scratch = Scratch::make(&to, &from)?;
            copy_into(&source, &mut Connection::open(&scratch.path).map_err(sqlite)?)?;
            scratch.put_in_place(&to)?;
            std::fs::metadata(&to).map(|file| file.len()).map_err(|error| io(&error))
        })
        .await
    }

    /// Creates a store from a backup.
    ///
    /// The restored log begins a new log epoch. Its positions were never assigned before. A cursor or checkpoint behind
    /// the end of the backup therefore reports a lost place, and never points to a different event. The new generation
    /// is above the generations of the backup and of the replaced store. All leases of both stores are therefore
    /// invalid.
    ///
    /// Events that the replaced store had erased are not restored. If the replaced store had tombstones, `settle` is
    /// called with the restored store before the replacement. The caller must then remove copies of erased events from
    /// rows.
    ///
    /// # Errors
    /// Returns a [`StorageFailure`] in each of these cases:
    /// - The backup is not a store, is damaged, or holds another namespace.
    /// - A store exists already, and `replace` is not set or another process has the store open.
    /// - `settle` fails.
    pub async fn restore<S, F>(
        options: SqliteOptions,
        from: &Path,
        replace: bool,
        settle: S,
    ) -> Result<Restored, StorageFailure>
    where
        S: FnOnce(Self) -> F + Send,
        F: Future<Output = Result<(), StorageFailure>> + Send,
    {
        let (from, to) = (from.to_owned(), options.clone());
        let mut restoring = blocking(move || Restoring::begin(&from, &to, replace)).await?;
        if restoring.has_tombstones() {
            let scratch = SqliteOptions { path: restoring.scratch.path.clone(), ..options.clone() };
            restoring.settled = settled(scratch, settle).await;
        }
        let damaged_kept_at = blocking(move || restoring.finish()).await?;
        Ok(Restored { engine: Self::open(options).await?, damaged_kept_at })
    }
}

async fn settled<S, F>(scratch: SqliteOptions, settle: S) -> Result<(), StorageFailure>
where
    S: FnOnce(SqliteEngine) -> F + Send,
    F: Future<Output = Result<(), StorageFailure>> + Send,
{
    let engine = SqliteEngine::open(scratch).await?;
    let settled = settle(engine.clone()).await;
    engine.close().await;
    settled
}

/// A restore in progress. A copy of the backup is prepared beside the store and then put in its place.
struct Restoring {
    target: Target,
    scratch: Scratch,
    settled: Result<(), StorageFailure>,
    is_placed: bool,
}

impl Restoring {
    fn begin(from: &Path, to: &SqliteOptions, replace: bool) -> Result<Self, StorageFailure> {
        let source = open_backup(from, &to.namespace)?;
        if let Some(folder) = to.path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| io(&error))?;
        }
        let target = Target::take(&to.path, from, replace)?;
        let scratch = Scratch::make(&to.path, from)?;
        let restoring = Self { target, scratch, settled: Ok(()), is_placed: false };
        copy_into(&source, &mut Connection::open(&restoring.scratch.path).map_err(sqlite)?)?;
        begin_epoch(&restoring.scratch.path, &restoring.target.replaced, unix_micros(to.clock.now()))?;
        Ok(restoring)
    }

    fn has_tombstones(&self) -> bool {
        !self.target.replaced.tombstones.is_empty()
    }

    /// Puts the copy in place. Returns the path to which an unreadable previous store was moved.
    fn finish(mut self) -> Result<Option<PathBuf>, StorageFailure> {
        std::mem::replace(&mut self.settled, Ok(()))?;
        prepare(&self.scratch.path, self.has_tombstones())?;
        self.target.fill_from(&self.scratch.path)?;
        self.is_placed = true;
        Ok(self.target.moved_to.clone())
    }
}

impl Drop for Restoring {
    fn drop(&mut self) {
        if !self.is_placed {
            self.target.put_back();
        }
    }
}

/// Opens a backup after a check for damage.
fn open_backup(from: &Path, namespace: &str) -> Result<Connection, StorageFailure> {
    if !from.is_file() {
        return Err(StorageFailure::Unavailable(format!("there is no backup at {}", from.display())));
    }
    let source = connection::open(from, Role::Read)?;
    if !layout::is_store(&source)? {
        return Err(StorageFailure::Foreign("the backup is empty".into()));
    }
    let sound: String = source.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    if sound != "ok" {
        return Err(StorageFailure::Corrupt(format!("the backup is damaged: {sound}")));
    }
    layout::check_namespace(&source, namespace)?;
    Ok(source)
}

/// The state of the replaced store that the restored store must respect.
#[derive(Debug, Default)]
struct Replaced {
    /// Highest position that the replaced store assigned.
    head: u64,
    /// Highest generation of its leases.
    generation: u64,
    /// Digests of erased ids. These ids stay erased even if the backup contains their events.
    tombstones: Vec<Vec<u8>>,
}

/// The destination file. It is locked against all other processes until it holds the restored store.
struct Target {
    path: PathBuf,
    connection: Connection,
    replaced: Replaced,
    /// The path to which an unreadable previous store was moved.
    moved_to: Option<PathBuf>,
}

impl Target {
    /// Locks the destination file. A new file gets the permissions of the backup.
    fn take(path: &Path, backup: &Path, replace: bool) -> Result<Self, StorageFailure> {
        let there = COMPANIONS.map(|ending| with_ending(path, ending).exists());
        if there.contains(&true) && !replace {
            let what = if there[0] { "a store" } else { "the write-ahead log of a store" };
            return Err(StorageFailure::Denied(format!(
                "there is {what} at {} already; --replace overwrites it",
                path.display()
            )));
        }
        // SQLite would apply a leftover write-ahead log to a new file of the same name.
        if !there[0] {
            let moved_to = move_aside(path)?;
            drop(private_file(path, backup)?);
            return Ok(Self { moved_to, ..Self::lock(path)? });
        }
        match Self::lock(path) {
            Err(StorageFailure::Corrupt(_) | StorageFailure::Foreign(_)) => {
                let moved_to = move_aside(path)?;
                drop(private_file(path, moved_to.as_deref().unwrap_or(backup))?);
                Ok(Self { moved_to, ..Self::lock(path)? })
            }
            taken => taken,
        }
    }

    fn lock(path: &Path) -> Result<Self, StorageFailure> {
        let mut connection = connection::open(path, Role::Create)?;
        // SQLite leaves WAL mode only if no other process has the file open. A connection in exclusive locking mode
        // keeps every lock that it gets.
        connection::without_waiting(&mut connection, |connection| {
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
            connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
            connection.execute_batch("BEGIN EXCLUSIVE; COMMIT")
        })
        .map_err(|error| match sqlite(error) {
            StorageFailure::Busy { .. } => in_use(path),
            other => other,
        })?;
        let found = layout::inspect(&connection).map_err(|failure| match failure {
            // The file is an intact database of another program, so it must not be moved.
            StorageFailure::Foreign(what) => StorageFailure::Denied(format!("{}: {what}", path.display())),
            other => other,
        });
        let replaced = match found? {
            Found::Empty => Replaced::default(),
            Found::Store(version) => replaced(&connection, version)?,
        };
        Ok(Self { path: path.to_owned(), connection, replaced, moved_to: None })
    }

    /// Copies the finished store into the file in one transaction.
    fn fill_from(&mut self, scratch: &Path) -> Result<(), StorageFailure> {
        let source = connection::open(scratch, Role::Read)?;
        copy_into(&source, &mut self.connection)
    }

    /// Moves the previous store back after a failure.
    fn put_back(&self) {
        let Some(moved_to) = &self.moved_to else { return };
        for ending in COMPANIONS {
            let _ = std::fs::rename(with_ending(moved_to, ending), with_ending(&self.path, ending));
        }
    }
}

/// Reads the state of the replaced store. A store of another layout provides all of it except the generation.
fn replaced(connection: &Connection, version: i64) -> Result<Replaced, StorageFailure> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(sqlite);
    let mut statement = connection.prepare("SELECT digest FROM tombstone").map_err(sqlite)?;
    let tombstones = statement
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(sqlite)?;
    let generation = match version {
        layout::VERSION => number("SELECT generation FROM state")? as u64,
        _ => 0,
    };
    Ok(Replaced { head: number("SELECT head FROM state")? as u64, generation, tombstones })
}

/// Moves an unreadable store and its companion files to a free name. Deletes nothing.
fn move_aside(path: &Path) -> Result<Option<PathBuf>, StorageFailure> {
    let taken = |to: &Path| COMPANIONS.iter().any(|ending| with_ending(to, ending).exists());
    let to = (1..).map(|n| with_ending(path, &format!(".damaged-{n}"))).find(|to| !taken(to));
    let Some(to) = to else { return Ok(None) };
    let mut moved = None;
    for ending in COMPANIONS {
        let from = with_ending(path, ending);
        if from.exists() {
            std::fs::rename(from, with_ending(&to, ending)).map_err(|error| io(&error))?;
            moved = Some(to.clone());
        }
    }
    Ok(moved)
}

fn in_use(path: &Path) -> StorageFailure {
    StorageFailure::Denied(format!("another process has {} open; stop it first", path.display()))
}

/// The positions of a new log epoch begin at the next multiple of this number.
const EPOCH_STRIDE: u64 = 1 << 32;

/// Number of events that are erased together.
const EVENTS_AT_ONCE: usize = 1000;

/// Begins a new log epoch in a copy of a backup.
fn begin_epoch(path: &Path, replaced: &Replaced, now_micros: i64) -> Result<(), StorageFailure> {
    let mut connection = connection::open(path, Role::Write)?;
    let transaction = connection.transaction().map_err(sqlite)?;
    let mut state = State::load(&transaction)?;
    let highest = state.head.max(replaced.head);
    let next = (highest / EPOCH_STRIDE + 1) * EPOCH_STRIDE;
    transaction
        .execute(
            "INSERT OR REPLACE INTO epoch (epoch, ended, next) VALUES (?1, ?2, ?3)",
            (state.epoch as i64, state.head as i64, next as i64),
        )
        .map_err(sqlite)?;
    // The time names the epoch, so that two restores of one backup have different epochs.
    state.epoch = (state.epoch + 1).max(now_micros.unsigned_abs());
    state.generation = state.generation.max(replaced.generation) + 1;
    // Some events of the log may be unindexed. The index stores positions, so the gap does no harm.
    state.head = next;
    // The generation invalidates old leases. Rows of former consumers must be deleted, because these consumers would
    // otherwise get a share of the segments.
    let consumers = "DELETE FROM row WHERE space = ?1";
    transaction.execute(consumers, [SpaceKind::Consumer.number()]).map_err(sqlite)?;
    let (mut kinds, mut tail, mut rows) = (Kinds::default(), Tail::default(), KnownRows::default());
    let mut change = Change::new(&transaction, state, &mut kinds, &mut tail, &mut rows, now_micros);
    erase_again(&mut change, replaced)?;
    change.state.save(&transaction)?;
    transaction.commit().map_err(sqlite)
}

/// Erases events again that were erased after the backup was made.
fn erase_again(change: &mut Change<'_>, replaced: &Replaced) -> Result<(), StorageFailure> {
    let erased: HashSet<&[u8]> = replaced.tombstones.iter().map(Vec::as_slice).collect();
    for digest in &erased {
        ids::bury(change.connection, digest)?;
    }
    let mut sequences = Vec::new();
    if !erased.is_empty() {
        let mut statement =
            change.connection.prepare("SELECT id, seq FROM event_id ORDER BY seq").map_err(sqlite)?;
        let mut rows = statement.query([]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let id: String = row.get(0).map_err(sqlite)?;
            if erased.contains(ids::digest(&id).as_slice()) {
                sequences.push(row.get::<_, i64>(1).map_err(sqlite)? as u64);
            }
        }
    }
    for some in sequences.chunks(EVENTS_AT_ONCE) {
        let entries = read::at(change.connection, &change.state, some)?;
        change.remove(&entries.into_iter().flatten().collect::<Vec<_>>(), RemovalKind::Erase)?;
    }
    Ok(())
}

/// Prepares the copy as a single file without a write-ahead log. If events were erased, the file is rewritten without
/// their bytes.
fn prepare(path: &Path, erased: bool) -> Result<(), StorageFailure> {
    let connection = connection::open(path, Role::Write)?;
    if erased {
        connection.execute_batch("PRAGMA temp_store = FILE; VACUUM").map_err(sqlite)?;
        connection.execute_batch("UPDATE state SET unscrubbed = 0").map_err(sqlite)?;
    }
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(sqlite)
}

fn copy_into(source: &Connection, target: &mut Connection) -> Result<(), StorageFailure> {
    let backup = Backup::new(source, target).map_err(sqlite)?;
    // The copy takes one step. With several steps, each write of another process would restart it.
    match backup.step(-1).map_err(sqlite)? {
        rusqlite::backup::StepResult::Done => Ok(()),
        other => Err(StorageFailure::Other(format!("the copy did not finish: {other:?}"))),
    }
}
