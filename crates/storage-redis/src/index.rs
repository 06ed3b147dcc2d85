//! Finding events: the dictionary of short terms and ids, lists of long terms, and the choice between them.

pub(crate) mod count;
pub(crate) mod dictionary;
pub(crate) mod hints;
pub(crate) mod lookup;
pub(crate) mod plan;
pub(crate) mod postings;
pub(crate) mod term_lookup;
pub(crate) mod terms;
