//! Disk space that is set aside, so that a full disk can be left.
//!
//! Removing events writes to the write-ahead log, and folding the log back makes the file grow: on a full disk neither could be
//! done. So a store that is not small has a reserve beside it, a file as large as the log usually gets. What only removes,
//! and what consumers commit, may use it up; events that are published may not. While it is used up no event is stored,
//! unless the file has as much free space within itself.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use domain::StorageFailure;
use rusqlite::Connection;

use crate::{failure::sqlite, file::occupied};

/// What the reserve takes: somewhat more than the write-ahead log, which is folded back at 16 MB.
const BYTES: u64 = 24 * 1024 * 1024;
/// Stores that occupy less have none.
const LEAST_STORE: u64 = 8 * 1024 * 1024;
/// How long after a failure it is tried again to set it aside.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The reserve of a store.
#[derive(Debug)]
pub(crate) struct Reserve {
    store: PathBuf,
    path: PathBuf,
    failed_at: Option<Instant>,
}

impl Reserve {
    /// The reserve of the store in a file.
    pub(crate) fn of(store: &Path) -> Self {
        let mut path = store.as_os_str().to_owned();
        path.push("-reserve");
        Self { store: store.to_owned(), path: path.into(), failed_at: None }
    }

    /// Gives the reserve up; whether there was one.
    pub(crate) fn give_up(&self) -> bool {
        let is_gone = fs::remove_file(&self.path).is_ok();
        if is_gone {
            tracing::warn!(store = %self.store.display(), "the disk is full: the store gives its reserve up");
        }
        is_gone
    }

    /// Whether events may be stored: the reserve is there, or is set aside now, or the store needs none.
    ///
    /// # Errors
    /// [`StorageFailure::Full`] where it is used up, and the file has little free space within itself.
    pub(crate) fn must_be_there(&mut self, connection: &Connection) -> Result<(), StorageFailure> {
        if self.path.exists() || occupied(&self.store).is_none_or(|bytes| bytes < LEAST_STORE) {
            return Ok(());
        }
        let is_due = self.failed_at.is_none_or(|at| at.elapsed() >= TRY_AGAIN_AFTER);
        if is_due {
            match self.set_aside() {
                Err(error) if is_full(&error) => self.failed_at = Some(Instant::now()),
                // Without the right to make files there is no reserve, and events are stored as before.
                _ => return Ok(()),
            }
        }
        match free_within(connection)? >= BYTES {
            true => Ok(()),
            false => Err(StorageFailure::Full(
                "no space is left on the disk but the reserve for removing events".to_owned(),
            )),
        }
    }

    fn set_aside(&self) -> std::io::Result<()> {
        let mut part = self.path.clone().into_os_string();
        part.push(".part");
        let written = write_zeros(Path::new(&part)).and_then(|()| fs::rename(&part, &self.path));
        if written.is_err() {
            // What was written of it must not fill the disk.
            let _ = fs::remove_file(&part);
        }
        written
    }
}

/// What is said where the disk is full, and there is no reserve to remove events with.
pub(crate) fn none_left() -> StorageFailure {
    StorageFailure::Full(format!(
        "no space is left on the disk, not even to remove events with: free {} MiB of it first",
        BYTES / (1024 * 1024)
    ))
}

/// A file of holes would set nothing aside.
fn write_zeros(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    let zeros = vec![0; 1024 * 1024];
    let mut left = BYTES;
    while left > 0 {
        let some = left.min(zeros.len() as u64);
        file.write_all(zeros.get(..some as usize).unwrap_or_default())?;
        left -= some;
    }
    file.sync_all()
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Bytes of the file that hold nothing.
fn free_within(connection: &Connection) -> Result<u64, StorageFailure> {
    let pragma =
        |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(sqlite);
    Ok(pragma("freelist_count")?.saturating_mul(pragma("page_size")?).max(0) as u64)
}
