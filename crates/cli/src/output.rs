//! What the program prints: data on stdout, talk and progress on stderr.
//!
//! A pipe changes colour, width and progress, and nothing else.

pub(crate) mod bar;
pub(crate) mod confirm;
pub(crate) mod new_file;
pub(crate) mod pretty;
pub(crate) mod printer;
pub(crate) mod table;

pub(crate) use event_replay::text::{escape, plural};

pub(crate) use self::printer::Printer;
