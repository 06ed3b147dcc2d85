//! Realistic events from a seed, and the read model that must result from them.
//!
//! [`Generator`] writes events of all built-in types as JSON lines. The events are correlated workflows of a learning
//! platform, with a few busy users, and with late and simultaneous events. A share of the events is invalid, each with
//! its violation. The same [`Settings`] always give the same bytes, so a file need not be kept. Memory does not grow
//! with the number of events.
//!
//! While it decides on events, the generator counts the expected result ([`Expectation`]). [`Projection`] is a consumer
//! that knows only the published JSON, and folds it into a [`ReadModel`]. The two share no code that counts. If they
//! agree, no event was lost, doubled or changed on the way. If they differ, [`Expectation::diff`] names every figure.

mod dice;
mod encode;
mod expectation;
mod fact;
mod fault;
mod generator;
mod ident;
mod json;
mod kind;
mod projection;
mod read_model;
mod script;
mod settings;
mod vocabulary;
mod workflow;

pub use expectation::Expectation;
pub use generator::{Generated, Generator, Validity};
pub use projection::Projection;
pub use read_model::{CourseProgress, ReadModel, UserProgress};
pub use settings::Settings;
