//! Implements every storage port once, over a [`domain::ports::StorageEngine`].
//!
//! An engine stores a log and rows. This crate gives the log and the rows their meaning. It decides which consumer
//! leases a segment, which changes a commit may make, how dead letters change their state, and which events retention
//! may remove. Each operation reads rows and decides on them. The decision is a pure function of the domain, or the
//! code of one module here. The operation writes its decision as a transaction. The engine refuses the transaction if
//! the rows have changed since the read.
//!
//! # Structure
//! [`Store`] is the handle (`store.rs`). Each port has a module with the same name. These modules serve all ports:
//!
//! - `partition.rs` has the engine calls of one partition, and the loop that reads, decides and writes. The loop
//!   repeats when another caller has changed the rows first.
//! - `rows.rs` says where each row lies and how its value is encoded.
//! - `pages.rs` reads indexes and the log in pages.
//! - `divided.rs` splits a list by partition and asks each partition for its part.
//!
//! # Several partitions
//! The ordering key of an event selects its partition. The dead letters and the schedule entry of an event lie in the
//! same partition. With P partitions, each partition holds every P-th segment of a group. Partition 0 holds the rows
//! that a store has once: checkpoints, schemas, statistics, tokens, client requests, the audit, pauses, kept plans and
//! the records of replays. Pages of several partitions are merged by stored time.
//!
//! A transaction covers one partition. A row that all partitions need, such as a group, is created from the last
//! partition to the first. It is removed from the first partition to the last. Partition 0 therefore decides whether it
//! exists.

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
