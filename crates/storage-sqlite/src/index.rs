//! The index: which positions each term has, and finding a filter's events by it.

pub(crate) mod count;
pub(crate) mod damaged;
pub(crate) mod plan;
pub(crate) mod postings;
mod tally;
pub(crate) mod terms;
