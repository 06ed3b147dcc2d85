//! Backup and restore: whole copies of the file, taken while others work on it.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use domain::{
    Event, StorageFailure,
    ports::{EventStore, Keeps, StoreInfo},
};
use rusqlite::{Connection, backup::Backup};

use crate::{
    append::tombstone,
    connection::{self, Role},
    dead_letter_rows,
    failure::sqlite,
    layout::{self, Found},
    leases,
    remove::remove,
    replays, schedule,
    state::{State, micros},
    store::{SqliteOptions, SqliteStore, blocking},
    terms::Kinds,
};

/// What a restore made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The restored store.
    pub info: StoreInfo,
    /// Where the store that it replaced was moved to, if nothing could be read from it.
    pub damaged_kept_at: Option<PathBuf>,
}

impl SqliteStore {
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
            let scratch = beside(&to);
            copy(&source, &scratch).and_then(|()| put_in_place(&scratch, &to)).inspect_err(|_| {
                let _ = std::fs::remove_file(&scratch);
            })?;
            std::fs::metadata(&to).map(|file| file.len()).map_err(|error| io(&error))
        })
        .await
    }

    /// Makes a store from a backup.
    ///
    /// The restored log begins a new log epoch and goes on at positions that were never handed out: cursors and
    /// checkpoints that mark what came after the backup answer that their place is lost, instead of meaning other events.
    ///
    /// # Errors
    /// When the backup is no store or damaged; when there is a store already and `replace` is not set, or another
    /// process has it open.
    pub async fn restore(
        options: SqliteOptions,
        from: &Path,
        replace: bool,
    ) -> Result<Restored, StorageFailure> {
        let (from, to) = (from.to_owned(), options.path.clone());
        let now = micros(options.clock.now());
        let damaged_kept_at = blocking(move || restore_file(&from, &to, replace, now)).await?;
        let store = Self::open(options).await?;
        let info = store.info().await.map_err(|error| StorageFailure::Other(error.to_string()))?;
        Ok(Restored { info, damaged_kept_at })
    }
}

fn restore_file(
    from: &Path,
    to: &Path,
    replace: bool,
    now_micros: i64,
) -> Result<Option<PathBuf>, StorageFailure> {
    if !from.is_file() {
        return Err(StorageFailure::Unavailable(format!("there is no backup at {}", from.display())));
    }
    let source = connection::open(from, Role::Read)?;
    match layout::inspect(&source)? {
        Found::Store(version) if version <= layout::VERSION => {}
        Found::Store(_) => {
            return Err(StorageFailure::Foreign(
                "the backup was made by a newer version of this program".into(),
            ));
        }
        Found::Empty => return Err(StorageFailure::Foreign("the backup is empty".into())),
    }
    let sound: String = source.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    if sound != "ok" {
        return Err(StorageFailure::Corrupt(format!("the backup is damaged: {sound}")));
    }
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(|error| io(&error))?;
    }
    let mut target = Target::take(to, replace)?;
    let scratch = beside(to);
    let restored = copy(&source, &scratch)
        .and_then(|()| begin_epoch(&scratch, &target.replaced, now_micros))
        .and_then(|()| target.fill_from(&scratch));
    let _ = std::fs::remove_file(&scratch);
    if restored.is_err() {
        target.put_back();
    }
    restored.map(|()| target.moved_to)
}

/// What the replaced store leaves to the one that takes its place.
#[derive(Debug, Default)]
struct Replaced {
    /// Positions up to here were handed out.
    head: u64,
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

/// What SQLite keeps beside a store's file.
const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

impl Target {
    fn take(path: &Path, replace: bool) -> Result<Self, StorageFailure> {
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
            return Ok(Self { moved_to: move_aside(path)?, ..Self::lock(path)? });
        }
        match Self::lock(path) {
            Err(StorageFailure::Corrupt(_) | StorageFailure::Foreign(_)) => {
                let moved_to = move_aside(path)?;
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
            Found::Store(_) => {
                let mut statement = connection.prepare("SELECT digest FROM tombstone").map_err(sqlite)?;
                let tombstones = statement
                    .query_map([], |row| row.get(0))
                    .and_then(Iterator::collect::<Result<_, _>>)
                    .map_err(sqlite)?;
                // Perhaps of an older layout, of which this is all that is asked.
                let head: i64 =
                    connection.query_row("SELECT head FROM state", [], |row| row.get(0)).map_err(sqlite)?;
                Replaced { head: head as u64, tombstones }
            }
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

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
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

/// Makes a copy of a backup the beginning of a new history.
fn begin_epoch(path: &Path, replaced: &Replaced, now_micros: i64) -> Result<(), StorageFailure> {
    let mut connection = connection::open(path, Role::Write)?;
    layout::migrate(&mut connection, "", Keeps::default(), now_micros)?;
    let transaction = connection.transaction().map_err(sqlite)?;
    let mut state = State::load(&transaction)?;
    transaction
        .execute(
            "INSERT OR REPLACE INTO epoch (epoch, ended) VALUES (?1, ?2)",
            (state.epoch as i64, state.head as i64),
        )
        .map_err(sqlite)?;
    // Named by the time: two restores of one backup are two histories.
    state.epoch = (state.epoch + 1).max(now_micros.unsigned_abs());
    let highest = state.head.max(replaced.head);
    // What is in the log may still be unindexed; the index goes by position and does not mind the gap.
    state.head = (highest / EPOCH_STRIDE + 1) * EPOCH_STRIDE;
    leases::fence_all(&transaction)?;
    replays::fence_all(&transaction)?;
    erase_again(&transaction, &mut state, replaced)?;
    state.save(&transaction)?;
    transaction.commit().map_err(sqlite)?;
    if !replaced.tombstones.is_empty() {
        connection.execute_batch("PRAGMA temp_store = FILE; VACUUM").map_err(sqlite)?;
    }
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(sqlite)
}

/// What was erased after the backup was made does not come back with it.
fn erase_again(
    connection: &Connection,
    state: &mut State,
    replaced: &Replaced,
) -> Result<(), StorageFailure> {
    if replaced.tombstones.is_empty() {
        return Ok(());
    }
    let erased: HashSet<&[u8]> = replaced.tombstones.iter().map(Vec::as_slice).collect();
    for digest in &replaced.tombstones {
        connection
            .execute("INSERT OR IGNORE INTO tombstone (digest) VALUES (?1)", [digest])
            .map_err(sqlite)?;
    }
    let mut positions = Vec::new();
    {
        let mut statement = connection.prepare("SELECT id, seq FROM event_id").map_err(sqlite)?;
        let mut rows = statement.query([]).map_err(sqlite)?;
        while let Some(row) = rows.next().map_err(sqlite)? {
            let id: String = row.get(0).map_err(sqlite)?;
            if erased.contains(tombstone(&id).as_slice()) {
                positions.push(row.get::<_, i64>(1).map_err(sqlite)? as u64);
            }
        }
    }
    positions.sort_unstable();
    remove(connection, state, &mut Kinds::default(), &positions, |_| Ok(()))?;
    let is_erased = |event: &Event| erased.contains(tombstone(event.id()).as_slice());
    for (id, _) in dead_letter_rows::matching(connection, is_erased)? {
        dead_letter_rows::remove(connection, &id)?;
    }
    for (number, _) in schedule::matching(connection, is_erased)? {
        schedule::remove(connection, number)?;
    }
    Ok(())
}

fn copy(source: &Connection, to: &Path) -> Result<(), StorageFailure> {
    let _ = std::fs::remove_file(to);
    copy_into(source, &mut Connection::open(to).map_err(sqlite)?)
}

fn copy_into(source: &Connection, target: &mut Connection) -> Result<(), StorageFailure> {
    let backup = Backup::new(source, target).map_err(sqlite)?;
    // All in one step: done in pieces, every write by another process would begin it anew.
    match backup.step(-1).map_err(sqlite)? {
        rusqlite::backup::StepResult::Done => Ok(()),
        other => Err(StorageFailure::Other(format!("the copy did not finish: {other:?}"))),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut scratch = path.as_os_str().to_owned();
    scratch.push(format!(".{}.part", std::process::id()));
    PathBuf::from(scratch)
}

/// Renames a finished copy, once it is on disk.
fn put_in_place(scratch: &Path, to: &Path) -> Result<(), StorageFailure> {
    let sync = || {
        std::fs::File::open(scratch)?.sync_all()?;
        std::fs::rename(scratch, to)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder)?.sync_all()
    };
    sync().map_err(|error| io(&error))
}

fn io(error: &std::io::Error) -> StorageFailure {
    match error.kind() {
        std::io::ErrorKind::StorageFull => StorageFailure::Full("no space is left on the disk".into()),
        std::io::ErrorKind::PermissionDenied => StorageFailure::Denied(error.to_string()),
        _ => StorageFailure::Other(error.to_string()),
    }
}
