//! Backup and restore: whole copies of the file, taken while others work on it.

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

/// What a restore made.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The restored store.
    pub engine: SqliteEngine,
    /// Where the store that it replaced was moved to, if nothing could be read from it.
    pub damaged_kept_at: Option<PathBuf>,
}

impl SqliteEngine {
    /// Copies the store to a new file, as it is at this moment; its size in bytes.
    ///
    /// # Errors
    /// When the file exists already, or cannot be written.
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

    /// Makes a store from a backup.
    ///
    /// The restored log begins a new log epoch and goes on at positions that were never handed out: cursors and
    /// checkpoints that mark what came after the backup answer that their place is lost, instead of meaning other events.
    /// Its generation is above those of the backup and of the store that it replaces, so leases that these gave are over.
    ///
    /// Events that the replaced store had erased do not come back. Where it had erased any, `settle` is called with the
    /// restored store before that takes its place: copies of such events in rows are for the caller to remove.
    ///
    /// # Errors
    /// When the backup is no store, damaged, or of another namespace; when there is a store already and `replace` is not
    /// set, or another process has it open; when `settle` fails.
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

/// A restore under way: a copy of the backup is made ready beside the store, then put in its place.
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

    /// Puts the copy in place; where a store that cannot be opened was moved to.
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

/// Opens a backup that is sound.
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

/// What the replaced store leaves to the one that takes its place.
#[derive(Debug, Default)]
struct Replaced {
    /// Positions up to here were handed out.
    head: u64,
    /// Leases up to this generation were.
    generation: u64,
    /// Ids that were erased stay erased, whatever the backup still has.
    tombstones: Vec<Vec<u8>>,
}

/// The file that is restored to, locked against every other process until the restored store is in it.
struct Target {
    path: PathBuf,
    connection: Connection,
    replaced: Replaced,
    /// Where a store that cannot be opened was moved to.
    moved_to: Option<PathBuf>,
}

impl Target {
    /// Takes the file to restore to. One that is new has the permissions of the backup.
    fn take(path: &Path, backup: &Path, replace: bool) -> Result<Self, StorageFailure> {
        let there = COMPANIONS.map(|ending| with_ending(path, ending).exists());
        if there.contains(&true) && !replace {
            let what = if there[0] { "a store" } else { "the write-ahead log of a store" };
            return Err(StorageFailure::Denied(format!(
                "there is {what} at {} already; --replace overwrites it",
                path.display()
            )));
        }
        // A log without its store is nothing, but a new file beside it would be taken for its store.
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
        // Leaving the write-ahead log is only granted to the one process that has the file open, and a connection in
        // exclusive mode keeps every lock it takes.
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
            // Sound, and not ours: not to be moved out of anybody's way.
            StorageFailure::Foreign(what) => StorageFailure::Denied(format!("{}: {what}", path.display())),
            other => other,
        });
        let replaced = match found? {
            Found::Empty => Replaced::default(),
            Found::Store(version) => replaced(&connection, version)?,
        };
        Ok(Self { path: path.to_owned(), connection, replaced, moved_to: None })
    }

    /// Puts a finished store in, in one transaction of the file.
    fn fill_from(&mut self, scratch: &Path) -> Result<(), StorageFailure> {
        let source = connection::open(scratch, Role::Read)?;
        copy_into(&source, &mut self.connection)
    }

    /// After a failure: brings back what was moved aside.
    fn put_back(&self) {
        let Some(moved_to) = &self.moved_to else { return };
        for ending in COMPANIONS {
            let _ = std::fs::rename(with_ending(moved_to, ending), with_ending(&self.path, ending));
        }
    }
}

/// Of a store of another layout, too, this much is known.
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

/// Moves a store that nothing can be read from out of the way, with what lies beside it. Nothing is deleted.
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

/// Positions of a new epoch begin at the next multiple of this.
const EPOCH_STRIDE: u64 = 1 << 32;

/// Events that are erased again together.
const EVENTS_AT_ONCE: usize = 1000;

/// Makes a copy of a backup the beginning of a new history.
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
    // Named by the time: two restores of one backup are two histories.
    state.epoch = (state.epoch + 1).max(now_micros.unsigned_abs());
    state.generation = state.generation.max(replaced.generation) + 1;
    // What is in the log may still be unindexed; the index goes by position and does not mind the gap.
    state.head = next;
    // Leases of the old generation are over by themselves. Consumers of that time would still be dealt their shares.
    let consumers = "DELETE FROM row WHERE space = ?1";
    transaction.execute(consumers, [SpaceKind::Consumer.number()]).map_err(sqlite)?;
    let (mut kinds, mut tail, mut rows) = (Kinds::default(), Tail::default(), KnownRows::default());
    let mut change = Change::new(&transaction, state, &mut kinds, &mut tail, &mut rows, now_micros);
    erase_again(&mut change, replaced)?;
    change.state.save(&transaction)?;
    transaction.commit().map_err(sqlite)
}

/// What was erased after the backup was made does not come back with it.
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

/// Makes one file of a copy, without bytes of what was erased.
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
    // All in one step: done in pieces, every write by another process would restart it.
    match backup.step(-1).map_err(sqlite)? {
        rusqlite::backup::StepResult::Done => Ok(()),
        other => Err(StorageFailure::Other(format!("the copy did not finish: {other:?}"))),
    }
}
