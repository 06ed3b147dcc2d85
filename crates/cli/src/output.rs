//! What the program prints: data on stdout, messages and progress on stderr.
//!
//! A pipe changes colour, symbols, width, relative times, paging and progress, and nothing else.

pub(crate) mod bar;
pub(crate) mod confirm;
mod destination;
pub(crate) mod new_file;
pub(crate) mod pretty;
pub(crate) mod printer;
mod select;
pub(crate) mod style;
pub(crate) mod table;

pub(crate) use event_replay::text::{escape, plural};

use self::destination::Destination;
pub(crate) use self::printer::Printer;
