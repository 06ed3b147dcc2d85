//! Text for people: what stored bytes may do to a terminal, counted things in sentences, and numbers and times as people
//! write them.

pub mod escape;
pub mod number;
pub mod plural;
pub mod time;
