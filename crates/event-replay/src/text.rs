//! Text for people: safe output of stored text, and counts in sentences. Numbers, times and names are parsed and printed here.

pub mod escape;
pub mod name;
pub mod number;
pub mod plural;
pub mod time;
