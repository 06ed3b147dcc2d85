//! The storage engine on Redis, for production. Any number of processes on any number of machines share one store.
//!
//! # Constraints
//! Memory is the main cost of Redis, and calls take most of its time. Redis does not roll back a script that fails. A
//! server that was restarted or replaced may have lost the newest writes, although it had answered them.
//!
//! # Design
//! *One call for each batch.* An append is one function of the server. The function claims the ids, writes the events
//! and adds the terms of the batch to one string. The caller names every key beforehand, from its last known state of
//! the partition. If that state is out of date, the function writes nothing and says so.
//!
//! *The index is folded later.* After about a thousand events, the client that appended the last of them folds the
//! pending terms into the index. Types, sources and hours have one list of positions for each chunk of the log.
//! Correlation ids and entities are entries of a sorted run. Readers also search the terms that are not folded yet.
//! Ids are fields of small hashes, which split as they grow.
//!
//! *Rows beside the log.* All other data is stored as rows: a map is a hash, an index is a sorted set. One function
//! evaluates the guards of many transactions and then performs their writes.
//!
//! *Log epochs.* Every append and commit compares the server's `run_id` and `master_replid` with the stored values. If
//! one of them differs, the log epoch rises. So no position is given twice, and the server refuses leases of earlier
//! epochs.
//!
//! # Durability
//! Durability is that of the server. With `appendfsync always` an answered append is on disk. With `everysec` a crash
//! of the machine may lose the last seconds, in whole batches. Without an append-only file, a crash loses everything
//! since the last snapshot. A batch is stored whole or not at all. The layout is described in `docs/redis-format.md`.
//!
//! # Where to look
//! - `engine` has the port and the rows.
//! - `log` has the events.
//! - `index` has the lists and runs that find events.
//! - `verify` checks all of them.
//! - `client` talks to servers.
//! - `server` reads the properties of servers.
//! - `lua` has the functions that run in the servers.

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
