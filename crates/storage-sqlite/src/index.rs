//! The index: the positions of each term, and the search for a filter's events by their terms.

pub(crate) mod count;
pub(crate) mod damaged;
pub(crate) mod plan;
pub(crate) mod postings;
mod tally;
pub(crate) mod terms;
