//! The log of a partition: append, read, remove, and the remains of erased events.

pub(crate) mod append;
pub(crate) mod ask;
pub(crate) mod compress;
pub(crate) mod compression;
pub(crate) mod entries;
pub(crate) mod first_trip;
pub(crate) mod raw;
pub(crate) mod remove;
pub(crate) mod rewrite;
pub(crate) mod samples;
pub(crate) mod scan;
pub(crate) mod scrub;
pub(crate) mod walk;
