//! The output of the program: data on stdout, messages and progress on stderr.
//!
//! On a pipe, the output differs only in colour, symbols, width, relative times, paging and progress.

pub(crate) mod bar;
pub(crate) mod change;
pub(crate) mod confirm;
mod destination;
pub(crate) mod new_file;
pub(crate) mod pretty;
pub(crate) mod printer;
pub(crate) mod rejects;
mod select;
pub(crate) mod style;
pub(crate) mod table;

pub(crate) use event_replay::text::{escape, plural};

use self::destination::Destination;
pub(crate) use self::printer::Printer;
