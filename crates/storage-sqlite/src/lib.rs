//! A storage engine in one SQLite file: the embedded default, for one machine and any number of its processes.
//!
//! # Constraints
//! The command line works on the file while services publish to it, so several processes read and write at once.
//! An append that was answered is on disk. A store of millions of events answers in milliseconds, in little memory.
//!
//! # Design
//! *One writer.* Each process has one writing thread; what its callers hand over while a commit is under way goes into
//! the next commit together. Between processes SQLite's own lock decides.
//!
//! *An index that follows the log.* A commit writes each event's row and id, no more. Once a few hundred events stand
//! unindexed at the end of the log, a commit *folds* them: for each term (a type, a source, an hour, a user …)
//! it writes one row with the positions of that term among them. Readers take older positions from those rows and look
//! at the short unindexed tail themselves. So the cost of six indexes is paid once for hundreds of events, in key
//! order; and since a fold is part of a commit, no crash can part an event from its index.
//!
//! *Rows are one table.* Everything beside the log is a key and a value, which the crate `store` gives their meaning.
//! Guards are judged within the transaction that writes, so no order of processes can part the two. The writing thread
//! remembers short rows that it read or wrote, as long as no other connection commits: a consumer's commits guard the same
//! few rows again and again. Views show the rows as tables to people with an SQL shell.
//!
//! *Reads are pages.* Every page is its own short transaction: an open one would keep the write-ahead log from being
//! folded back into the file.
//!
//! # Durability
//! WAL with `synchronous=FULL`: an answered append survives the process and, on disks that honour a flush, a power cut.
//! So does a transaction that is asked to be durable. One that is relaxed is not waited for: it survives the process, and
//! a power cut may take the last of such transactions back, all or none of each. Whatever is waited for takes all that
//! was written before it to the disk as well.
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
