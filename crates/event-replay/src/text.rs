//! Text for people: what stored bytes may do to a terminal, counted things in sentences, and numbers, times and names as
//! people write them.

pub mod escape;
pub mod name;
pub mod number;
pub mod plural;
pub mod time;
