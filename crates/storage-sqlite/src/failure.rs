//! SQLite's errors in the domain's words.

use std::time::Duration;

use domain::StorageFailure;
use rusqlite::{Error, ErrorCode};

/// Translates an error of a call that changes nothing, or that was rolled back.
#[allow(clippy::needless_pass_by_value, reason = "shaped for map_err")]
pub(crate) fn sqlite(error: Error) -> StorageFailure {
    let text = error.to_string();
    let Some(code) = error.sqlite_error_code() else {
        return match error {
            // A column of another type than it was written with: the row is not ours any more.
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

/// A short read means that the file is shorter than its own header says; the rest are faults of the disk.
fn io_failure(error: &Error, text: &str) -> StorageFailure {
    const SHORT_READ: i32 = rusqlite::ffi::SQLITE_IOERR_SHORT_READ;
    // The file beside the store that its processes share is made when the first of them opens it.
    const SHM_SIZE: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
    const SHM_MAP: i32 = rusqlite::ffi::SQLITE_IOERR_SHMMAP;
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(SHORT_READ) => StorageFailure::Corrupt("the file is cut short".into()),
        Some(SHM_SIZE | SHM_MAP) => StorageFailure::Full("no space is left on the disk".into()),
        _ => StorageFailure::Other(format!("the disk failed: {text}")),
    }
}

/// Translates the error of a COMMIT: its outcome is unknown, unless SQLite says that it did not take place.
pub(crate) fn commit(error: Error) -> StorageFailure {
    match sqlite(error) {
        StorageFailure::Other(text) => StorageFailure::Unknown(text),
        known => known,
    }
}

/// Says how long a call waited for the lock.
pub(crate) fn with_wait(failure: StorageFailure, waited: Duration) -> StorageFailure {
    match failure {
        StorageFailure::Busy { .. } => StorageFailure::Busy { waited },
        other => other,
    }
}
