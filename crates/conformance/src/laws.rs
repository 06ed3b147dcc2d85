//! Every law, one function each. The list that runs them is in [`suite!`](crate::suite).

pub mod append;
pub mod checkpoints;
pub mod concurrency;
pub mod cursors;
pub mod filters;
pub mod model;
pub mod read;
pub mod removing;
pub mod replays;
pub mod schemas;
pub mod verifying;
