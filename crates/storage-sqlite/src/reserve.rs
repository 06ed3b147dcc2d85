//! Reserved disk space, so that an operator can remove events from a store on a full disk.
//!
//! Removing events writes to the write-ahead log, and a WAL checkpoint lets the file grow. A full disk allows neither.
//! A store that is not small therefore has a reserve: a file beside it, about as large as the write-ahead log usually
//! gets. Transactions that only remove, and commits of consumers, may use the reserve up. Published events may not.
//! Without the reserve, the store refuses new events unless its file has as much free space inside.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use domain::StorageFailure;
use rusqlite::Connection;

use crate::{failure::sqlite, file::occupied};

/// Size of the reserve, in bytes. It exceeds the size of the write-ahead log at its WAL checkpoint, which is 16 MB.
const BYTES: u64 = 24 * 1024 * 1024;
/// Smallest size of a store with a reserve, in bytes.
const LEAST_STORE: u64 = 8 * 1024 * 1024;
/// Pause after a failed attempt to create the reserve.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The reserve of a store.
#[derive(Debug)]
pub(crate) struct Reserve {
    store: PathBuf,
    path: PathBuf,
    failed_at: Option<Instant>,
}

impl Reserve {
    /// Returns the reserve of the store at a path.
    pub(crate) fn of(store: &Path) -> Self {
        let mut path = store.as_os_str().to_owned();
        path.push("-reserve");
        Self { store: store.to_owned(), path: path.into(), failed_at: None }
    }

    /// Deletes the reserve file. Returns whether a file was deleted.
    pub(crate) fn give_up(&self) -> bool {
        let is_gone = fs::remove_file(&self.path).is_ok();
        if is_gone {
            tracing::warn!(store = %self.store.display(), "the disk is full: the store gives its reserve up");
        }
        is_gone
    }

    /// Permits storing events if the reserve exists, was just created, or is not needed.
    ///
    /// # Errors
    /// Returns [`StorageFailure::Full`] if the reserve cannot be created and the file has little free space inside.
    pub(crate) fn must_be_there(&mut self, connection: &Connection) -> Result<(), StorageFailure> {
        if self.path.exists() || occupied(&self.store).is_none_or(|bytes| bytes < LEAST_STORE) {
            return Ok(());
        }
        let is_due = self.failed_at.is_none_or(|at| at.elapsed() >= TRY_AGAIN_AFTER);
        if is_due {
            match self.set_aside() {
                Err(error) if is_full(&error) => self.failed_at = Some(Instant::now()),
                // Other errors, such as a missing right to create files, permit events without a reserve.
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
            // The partly written file must not fill the disk.
            let _ = fs::remove_file(&part);
        }
        written
    }
}

/// Returns the failure for a full disk without a reserve for removing events.
pub(crate) fn none_left() -> StorageFailure {
    StorageFailure::Full(format!(
        "no space is left on the disk, not even to remove events with: free {} MiB of it first",
        BYTES / (1024 * 1024)
    ))
}

/// Writes zeros to the whole file. A sparse file would reserve no space.
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

/// Returns the size of the free pages in the file, in bytes.
fn free_within(connection: &Connection) -> Result<u64, StorageFailure> {
    let pragma =
        |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(sqlite);
    Ok(pragma("freelist_count")?.saturating_mul(pragma("page_size")?).max(0) as u64)
}
