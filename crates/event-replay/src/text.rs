//! Text for people: safe output of stored text, counts in sentences, and the parsing and printing of numbers, times and
//! names.

pub mod escape;
pub mod name;
pub mod number;
pub mod plural;
pub mod time;
