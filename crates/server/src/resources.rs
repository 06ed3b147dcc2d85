//! The resources of the API, one module for each. Each handler maps a request to a call of the application layer.

pub(crate) mod audit;
pub(crate) mod checkpoints;
pub(crate) mod cloud;
pub(crate) mod consuming;
pub(crate) mod dead_letters;
pub(crate) mod erasures;
pub(crate) mod events;
pub(crate) mod filter;
pub(crate) mod groups;
pub(crate) mod health;
pub(crate) mod kept_plans;
pub(crate) mod metrics;
pub(crate) mod plans;
pub(crate) mod progress;
pub(crate) mod publish;
pub(crate) mod redrives;
pub(crate) mod replays;
pub(crate) mod revisions;
pub(crate) mod scheduled;
pub(crate) mod schemas;
pub(crate) mod stats;
pub(crate) mod stream;
pub(crate) mod tokens;
pub(crate) mod traces;
pub(crate) mod trims;
