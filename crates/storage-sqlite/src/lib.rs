//! A storage engine in one SQLite file. It is the embedded default, for one machine and any number of processes on it.
//!
//! # Constraints
//! The command line reads and writes the file while services publish to it, so several processes access it at once. An
//! answered append is on disk. A store of millions of events answers in milliseconds and needs little memory.
//!
//! # Design
//! *One writer.* Each process has one writing thread. Calls that arrive during a commit share the next commit. Between
//! processes, SQLite's own lock decides.
//!
//! *An index that follows the log.* Most commits write only the row and the id of each event. When a few hundred events
//! at the end of the log are unindexed, a commit *folds* these events: it writes their index entries as one batch. The
//! batch has one row for each term (a type, a source, an hour, a user …), with the positions of that term. Readers take
//! older positions from these rows and scan the short unindexed tail themselves. The cost of six indexes is thus paid
//! once for hundreds of events, in key order. A fold is part of a commit, so no crash separates an event from its
//! index.
//!
//! *Rows are one table.* All data beside the log is stored as keys and values. The crate `store` defines their meaning.
//! Guards are evaluated in the transaction that writes, so no other process can write between the check and the write.
//! The writing thread caches short rows that it read or wrote until another connection commits. The cache pays off
//! because a consumer's commits guard the same few rows repeatedly. Views show the rows as tables to people with an SQL
//! shell.
//!
//! *Reads are pages.* Each page is its own short transaction. A long read transaction would prevent a WAL checkpoint,
//! which copies the write-ahead log back into the file.
//!
//! # Durability
//! The file uses WAL with `synchronous=FULL`. An answered append survives a crash of the process. On disks that honour
//! a flush, the append also survives a power cut. The same holds for a durable transaction.
//!
//! The engine does not wait for the disk after a relaxed transaction. The transaction survives a crash of the process.
//! A power cut may undo the last relaxed transactions, each as a whole. A durable write also flushes all earlier
//! writes.
//!
//! The tables are described in [`layout`].

mod backup;
mod connection;
mod engine;
mod failure;
mod file;
mod index;
pub mod layout;
mod log;
mod mounts;
mod reserve;
mod rows;
mod scratch;
mod state;
mod verify;
mod views;
mod writer;

pub use backup::Restored;
pub use file::{SqliteEngine, SqliteOptions};
