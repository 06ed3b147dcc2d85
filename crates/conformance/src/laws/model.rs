//! The most general law: for any sequence of operations, a store gives the same results as the model.

pub use crate::model::agrees_with_the_model;
