//! The storage engine on Redis: for production, and any number of processes on any machines.
//!
//! # Constraints
//! Memory is what Redis costs, and calls are what it spends its time on. A script is not rolled back where it fails, and a
//! server that was restarted or replaced may have lost the end of what it had answered.
//!
//! # Design
//! *One call a batch.* An append is one function of the server: it claims the ids, writes the events, and adds the terms of
//! the batch to one string. The caller names every key beforehand, from what it last knew of the partition. Where that is old,
//! nothing is written, and the function says so.
//!
//! *The index is folded later.* After a thousand events or so, the client that appended the last of them folds pending terms: types, sources and
//! hours have a list of positions a chunk of the log; correlation ids and entities are entries of a sorted run. Readers look
//! through what waits as well. Ids are fields of small hashes, which split as they grow.
//!
//! *Rows beside the log.* Everything else is rows: a hash for a map, a sorted set for an index. One function judges the guards
//! of many transactions and writes what is left to change.
//!
//! *Log epochs.* The server's `run_id` and `master_replid` are compared in every append and commit. Where one is another, the
//! log epoch is raised: no position is given twice, and leases of before are refused.
//!
//! # Durability
//! That of the server: with `appendfsync always` an answered append is on disk; with `everysec` a crash of the machine may
//! take the last seconds, whole batches of them; without an append-only file, what came since the last snapshot. All of a
//! batch is there, or nothing. The layout is described in `docs/redis-format.md`.
//!
//! # Where to look
//! `engine` is the port and the rows, `log` the events, `index` how they are found, `verify` how all of it is checked; `client`
//! talks to servers, `server` asks what they are like, and `lua` is what runs in them.

mod client;
mod engine;
mod index;
mod log;
mod options;
mod server;
mod verify;

pub use client::address::check_url;
pub use engine::RedisEngine;
pub use options::{Copies, RedisOptions, Tls};
pub use server::checks::{Check, Verdict};
