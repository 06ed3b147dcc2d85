//! Backup and restore: whole copies of the file, taken while others work on it.

use std::path::{Path, PathBuf};

use domain::{
    StorageFailure,
    ports::{EventStore, StoreInfo},
};
use rusqlite::{Connection, backup::Backup};

use crate::{
    connection::{self, Role},
    failure::sqlite,
    layout::{self, Found},
    state::{State, micros},
    store::{SqliteOptions, SqliteStore, blocking},
};

impl SqliteStore {
    /// Copies the store to a new file, as it is at this moment; its size in bytes.
    ///
    /// # Errors
    /// When the file exists already, or cannot be written.
    pub async fn backup_to(&self, path: &Path) -> Result<u64, StorageFailure> {
        let (from, to) = (self.path().to_owned(), path.to_owned());
        blocking(move || {
            if to.exists() {
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
    ) -> Result<StoreInfo, StorageFailure> {
        let (from, to) = (from.to_owned(), options.path.clone());
        let now = micros(options.clock.now());
        blocking(move || restore_file(&from, &to, replace, now)).await?;
        let store = Self::open(options).await?;
        store.info().await.map_err(|error| StorageFailure::Other(error.to_string()))
    }
}

fn restore_file(from: &Path, to: &Path, replace: bool, now_micros: i64) -> Result<(), StorageFailure> {
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
    let replaced_head = if to.exists() { take_over(to, replace)? } else { 0 };
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(|error| io(&error))?;
    }
    let scratch = beside(to);
    copy(&source, &scratch)
        .and_then(|()| begin_epoch(&scratch, replaced_head, now_micros))
        .and_then(|()| put_in_place(&scratch, to))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&scratch);
        })
}

/// Makes sure that a store may be replaced; its head, whose positions must not be handed out again.
fn take_over(path: &Path, replace: bool) -> Result<u64, StorageFailure> {
    if !replace {
        return Err(StorageFailure::Denied(format!(
            "there is a store at {} already; --replace overwrites it",
            path.display()
        )));
    }
    let connection = connection::open(path, Role::Write)?;
    let head = match layout::inspect(&connection) {
        Ok(Found::Store(_)) => State::load(&connection)?.head,
        // A damaged or empty store is what restoring is for.
        _ => 0,
    };
    // Leaving the write-ahead log is only granted to the one process that has the file open.
    let mode: String = connection
        .query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))
        .map_err(|_| in_use(path))?;
    if mode == "delete" { Ok(head) } else { Err(in_use(path)) }
}

fn in_use(path: &Path) -> StorageFailure {
    StorageFailure::Denied(format!("another process has {} open; stop it first", path.display()))
}

/// Positions of a new epoch begin at the next multiple of this.
const EPOCH_STRIDE: u64 = 1 << 32;

fn begin_epoch(path: &Path, replaced_head: u64, now_micros: i64) -> Result<(), StorageFailure> {
    let mut connection = connection::open(path, Role::Write)?;
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
    let highest = state.head.max(replaced_head);
    // What is in the log may still be unindexed; the index goes by position and does not mind the gap.
    state.head = (highest / EPOCH_STRIDE + 1) * EPOCH_STRIDE;
    state.save(&transaction)?;
    transaction.commit().map_err(sqlite)?;
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).map_err(sqlite)
}

fn copy(source: &Connection, to: &Path) -> Result<(), StorageFailure> {
    let _ = std::fs::remove_file(to);
    let mut target = Connection::open(to).map_err(sqlite)?;
    let backup = Backup::new(source, &mut target).map_err(sqlite)?;
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
