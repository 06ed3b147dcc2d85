//! Finding events: the dictionary of ids, runs of short terms, lists of long ones, and the choice between them. What appends
//! leave is folded into these later.

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
