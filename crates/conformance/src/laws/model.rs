//! The law above all others: whatever the sequence of operations, a store answers as the model does.

pub use crate::model::agrees_with_the_model;
