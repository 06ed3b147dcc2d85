//! Translates SQLite's errors into storage failures.

use std::time::Duration;

use domain::StorageFailure;
use rusqlite::{Error, ErrorCode};

/// Translates the error of a call that changed nothing or was rolled back.
#[allow(clippy::needless_pass_by_value, reason = "shaped for map_err")]
pub(crate) fn sqlite(error: Error) -> StorageFailure {
    let text = error.to_string();
    let Some(code) = error.sqlite_error_code() else {
        return match error {
            // A column has another type than the engine writes, so the row is damaged or foreign.
            Error::FromSqlConversionFailure(..) | Error::InvalidColumnType(..) | Error::Utf8Error(..) => {
                StorageFailure::Corrupt(text)
            }
            _ => StorageFailure::Other(text),
        };
    };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            StorageFailure::Busy { waited: Duration::ZERO }
        }
        ErrorCode::DiskFull => StorageFailure::Full("no space is left on the disk".into()),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::AuthorizationForStatementDenied => {
            StorageFailure::Denied(
                "the file, or its folder, is read-only for this user, who may still run commands that only read"
                    .into(),
            )
        }
        ErrorCode::DatabaseCorrupt => StorageFailure::Corrupt(text),
        ErrorCode::NotADatabase => {
            StorageFailure::Foreign("the file is not an event store (nor a SQLite database at all)".into())
        }
        ErrorCode::CannotOpen => StorageFailure::Unavailable("the file cannot be opened".into()),
        ErrorCode::SystemIoFailure => io_failure(&error, &text),
        _ => StorageFailure::Other(text),
    }
}

/// Translates an I/O error. A short read means that the file is shorter than its header states. A full disk is reported
/// when the shared-memory file cannot grow. All other errors are disk faults.
fn io_failure(error: &Error, text: &str) -> StorageFailure {
    const SHORT_READ: i32 = rusqlite::ffi::SQLITE_IOERR_SHORT_READ;
    // SQLite creates the shared-memory file (`-shm`) when the first process opens the store.
    const SHM_SIZE: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
    const SHM_MAP: i32 = rusqlite::ffi::SQLITE_IOERR_SHMMAP;
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(SHORT_READ) => StorageFailure::Corrupt("the file is cut short".into()),
        Some(SHM_SIZE | SHM_MAP) => StorageFailure::Full("no space is left on the disk".into()),
        _ => StorageFailure::Other(format!("the disk failed: {text}")),
    }
}

/// Translates the error of a COMMIT. The outcome is unknown unless SQLite reports that the commit did not happen.
pub(crate) fn commit(error: Error) -> StorageFailure {
    match sqlite(error) {
        StorageFailure::Other(text) => StorageFailure::Unknown(text),
        known => known,
    }
}

/// Sets the time that the call waited for the lock.
pub(crate) fn with_wait(failure: StorageFailure, waited: Duration) -> StorageFailure {
    match failure {
        StorageFailure::Busy { .. } => StorageFailure::Busy { waited },
        other => other,
    }
}
