//! The laws of the storage engine, one function each. The list that runs them is in
//! [`engine_suite!`](crate::engine_suite).
//!
//! Three laws of the port need a server that a test can stop or disconnect: log epochs after a loss,
//! [`domain::StorageFailure::Unknown`], and unreachable partitions. The adapters with such a server test them.
//!
//! [`rows_model::rows_agree_with_the_model`] runs random transactions against a naive model. `EVENT_REPLAY_SEED` and
//! `EVENT_REPLAY_ROUNDS` set its seed and rounds.

pub mod appending;
pub mod reading;
pub mod removing;
pub mod rows;
pub mod rows_model;
pub mod transactions;

use crate::engine_harness::ids;
use domain::ports::engine::log::sequence_of;
