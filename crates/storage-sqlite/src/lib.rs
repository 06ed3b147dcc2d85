//! Every storage port in one SQLite file: the embedded default, for one machine and any number of its processes.
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
//! *Groups are rows.* A commit without failures changes one row a segment. It names its lease in the same statement, so a
//! lease that was lost changes nothing, and no order of processes can part the two.
//!
//! *Reads are pages.* Every page is its own short transaction: an open one would keep the write-ahead log from being
//! folded back into the file.
//!
//! # Durability
//! WAL with `synchronous=FULL`: an answered append survives the process and, on disks that honour a flush, a power cut.
//! So are checkpoints, schemas, the schedule, groups that are made, moved or deleted, what people do with dead letters, and
//! the records of replays. Commits of groups, leases, lanes, replay counts and counters are not waited for: they survive the
//! process, and a power cut may take the last of them back, all or none of each. What groups had handled since then is
//! handed over once more. Whatever is waited for takes all that was written before it to the disk as well.
//!
//! The tables are described in [`layout`].

mod append;
mod backup;
mod checkpoints;
mod commits;
mod connection;
mod count;
mod cursor;
mod dead_letter_rows;
mod dead_letters;
mod erase;
mod failure;
mod fold;
mod group_status;
mod groups;
mod holds;
mod lanes;
pub mod layout;
mod leases;
mod mounts;
mod plan;
mod postings;
mod read;
mod remove;
mod replays;
mod retention;
mod rows;
mod schedule;
mod schemas;
mod state;
mod stats;
mod store;
mod terms;
mod verify;
mod verify_groups;
mod wake;
mod writer;

pub use backup::Restored;
pub use store::{SqliteOptions, SqliteStore};
