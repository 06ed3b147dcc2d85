//! Random sequences of operations on consumer groups. Each result is compared with a naive model of the store.
//!
//! The model shares no code with any adapter. It consists of a few plain lists. A port leaves some choices to the
//! store: the free segments that it gives, epochs, places in a lane, and ids of dead letters. The model checks that the
//! store's choice is allowed and then adopts it. Operations with undefined results are not drawn.

mod commits;
mod draw;
mod letters;
mod oracle;
mod run;

pub(crate) use run::Run;
