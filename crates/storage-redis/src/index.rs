//! Indexes: the dictionary of ids, runs of short terms, lists of long terms, and the choice between them. A fold adds
//! the pending terms of appends to the runs and lists later.

pub(crate) mod count;
pub(crate) mod dictionary;
pub(crate) mod fold;
pub(crate) mod lookup;
pub(crate) mod merge;
pub(crate) mod needles;
pub(crate) mod pending;
pub(crate) mod plan;
pub(crate) mod postings;
pub(crate) mod runs;
pub(crate) mod short;
pub(crate) mod tally;
pub(crate) mod term_lookup;
pub(crate) mod terms;
