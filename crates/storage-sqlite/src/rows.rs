//! Rows: keys and values beside the log, in one table.
//!
//! A UTF-8 value is stored as text, so that SQLite's own functions work on it. Any other value is stored as a blob.
//! Keys and scopes are blobs, which SQLite orders byte by byte.

mod known;
mod perform;
mod read;

pub(crate) use known::KnownRows;
pub(crate) use read::read;
