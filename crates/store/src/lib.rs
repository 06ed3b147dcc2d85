//! Every storage port, implemented once over a [`domain::ports::StorageEngine`].
//!
//! An engine keeps a log and rows; what they mean is decided here: who has leased a segment, what a commit may change, what
//! becomes of a dead letter, what retention may remove. A rule is read from rows, decided by a pure function of the domain or
//! in one module here, and written as a transaction that is refused if what was read has changed.
//!
//! # The way in
//! [`Store`] is the handle (`store.rs`). Each port has a module of its name. `partition.rs` is one partition's engine calls, with
//! the loop that reads, decides, writes, and decides again where another caller was quicker. `rows.rs` says where each row lies and
//! how it is encoded, `pages.rs` reads indexes and the log by the page, and `divided.rs` asks each partition for its part of a list.
//!
//! # Several partitions
//! An event lies in the partition that its ordering key falls to, and so do its dead letters and its place in the schedule. A
//! group has every P-th segment in each partition. Checkpoints, schemas, counters, tokens, kept plans and the records of replays lie in
//! partition 0. Pages are merged by when events were stored. A transaction concerns one partition: what must be in all of them, such as
//! a group, is made from the last to the first and removed from the first to the last, so that partition 0 says what there is.

mod audit;
mod checkpoints;
mod dead_letters;
mod divided;
mod events;
mod groups;
mod holds;
mod merge;
mod pages;
mod partition;
mod plans;
mod reached;
mod replays;
mod requests;
mod retention;
mod retry;
mod rows;
mod schedule;
mod schemas;
mod stats;
mod store;
mod tally;
mod tokens;
mod verify;

pub use store::Store;
