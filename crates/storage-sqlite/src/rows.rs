//! Rows: keys and values beside the log, in one table.
//!
//! A value that is UTF-8 is kept as text, so that SQLite's own functions work on it, and any other as a blob. Keys and
//! scopes are blobs, which SQLite orders byte by byte.

mod known;
mod perform;
mod read;

pub(crate) use known::KnownRows;
pub(crate) use read::read;
