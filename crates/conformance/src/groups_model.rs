//! Random sequences of operations on consumer groups, each answer compared with a naive model of the store.
//!
//! The model shares no code with any adapter: it is a few plain lists. What a port leaves to the store (which of the
//! free segments it gives, epochs, places in a lane, ids of dead letters) the model takes over from the store's answer,
//! once it has checked that the answer is one of those that are allowed. What a port leaves open is not drawn.

mod commits;
mod draw;
mod letters;
mod oracle;
mod run;

pub(crate) use run::Run;
