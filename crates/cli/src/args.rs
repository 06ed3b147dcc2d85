//! Flags that several commands share, and the parsers of their values.

mod bounds;
pub(crate) mod filter;
pub(crate) mod group;
pub(crate) mod target;

use clap::ValueEnum;
pub(crate) use event_replay::text::{number, time};

pub(crate) use self::{bounds::BoundArgs, filter::FilterArgs};

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// Tables and sentences.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
}
