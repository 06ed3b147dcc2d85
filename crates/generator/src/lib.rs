//! Realistic events from a seed, and what a read model must hold after them.
//!
//! [`Generator`] writes events of all built-in types as JSON lines: correlated workflows of a learning platform with a
//! few busy users, late and simultaneous events, and a share of invalid ones, each with what is wrong with it. The same
//! [`Settings`] give the same bytes for ever, so a file need not be kept, and memory does not grow with the number of
//! events.
//!
//! While it decides on events it counts what they must lead to ([`Expectation`]). [`Projection`] is a consumer that
//! knows published JSON alone and folds it into a [`ReadModel`]. The two share no code that counts, so where they agree,
//! nothing was lost, doubled or changed on the way; where they do not, [`Expectation::diff`] names every figure.

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
