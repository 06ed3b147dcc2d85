//! Every law, one function each. The list that runs them is in [`suite!`](crate::suite).

pub mod append;
pub mod checkpoints;
pub mod commits;
pub mod concurrency;
pub mod cursors;
pub mod dead_letters;
pub mod filters;
pub mod groups;
pub mod groups_model;
pub mod holding;
pub mod lanes;
pub mod leases;
pub mod model;
pub mod partitions;
pub mod pending;
pub mod read;
pub mod removing;
pub mod replay_records;
pub mod replays;
pub mod schedule;
pub mod schemas;
pub mod stats;
mod support;
pub mod verifying;
