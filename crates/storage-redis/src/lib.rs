//! Every storage port on Redis: for production, and any number of processes on any machines.

mod append;
mod checkpoints;
mod checks;
mod connect;
mod count;
mod dead_letters;
mod erase;
mod failure;
mod functions;
mod groups;
mod keys;
mod link;
mod options;
mod read;
mod replays;
mod retention;
mod rows;
mod schedule;
mod schemas;
mod state;
mod stats;
mod store;
mod verify;
mod wake;
mod write;

pub use options::{RedisOptions, Tls};
pub use store::RedisStore;
