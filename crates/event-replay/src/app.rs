//! The operations on a store for every front end, such as the command line and the HTTP API.
//!
//! A front end maps its input to a request of these modules and shows the report. It adds a hint in its own words to an
//! error. Only these modules decide three things: the events that a request selects, whether it needs a confirmation
//! with figures, and its effect.

pub mod approval;
pub mod audit;
pub mod backup;
pub mod bounds;
pub mod checkpoints;
pub mod compare;
mod confirmation;
pub mod consumer;
pub mod counting;
pub mod creation;
pub mod dead_letters;
pub mod differences;
pub mod documents;
pub mod erase;
mod error;
pub mod explanations;
pub mod filter;
pub mod groups;
pub mod health;
pub mod histogram;
pub mod idle;
pub mod intake;
pub mod json_tree;
pub mod letter_edits;
pub mod metrics;
pub mod missed;
pub mod near;
pub mod plans;
pub mod position;
mod prefix;
pub mod publish;
pub mod replay;
pub mod replay_request;
pub mod replay_state;
pub mod replays;
pub mod retention;
pub mod schemas;
pub mod source;
pub mod state;
pub mod stats;
mod store;
pub mod tokens;
pub mod trace;
pub mod upcasting;
pub mod walk;

pub use confirmation::Confirmation;
pub use error::{AppError, Conflict, InvalidRequest, NotFound};
pub use store::{Frozen, StoreError, clock, frozen_settings, open_store, open_target, store_exists};
