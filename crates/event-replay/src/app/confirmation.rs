//! What a request would take away permanently, with its figures: a door asks before it goes ahead.

use std::{fmt, path::PathBuf};

use crate::{
    settings::StoreLocation,
    text::{
        escape,
        plural::{self, count, size},
    },
};

/// What is to be confirmed. It completes the sentence "this would …".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confirmation {
    /// A trim drops events.
    DropEvents {
        /// How many.
        events: u64,
        /// Bytes of their JSON.
        bytes: u64,
        /// From where.
        store: StoreLocation,
    },
    /// An erasure removes all that names entities.
    EraseEntities {
        /// How many events name any of them.
        events: u64,
        /// The entities.
        entities: Vec<String>,
        /// From where.
        store: StoreLocation,
    },
    /// Dead letters are closed unhandled.
    DiscardLetters {
        /// How many.
        letters: u64,
    },
    /// A group is deleted.
    DeleteGroup {
        /// Its name.
        name: String,
        /// Where it is.
        at: String,
        /// Consumers that are alive.
        consumers: u64,
    },
    /// A backup takes the place of the store.
    ReplaceStore {
        /// The store.
        store: StoreLocation,
        /// The backup.
        backup: PathBuf,
    },
}

impl fmt::Display for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DropEvents { events, bytes, store } => {
                write!(f, "drop {} ({}) from {store}", count(*events, "event"), size(*bytes))
            }
            Self::EraseEntities { events, entities, store } => {
                let naming = plural::of(*events, "event that names", "events that name");
                write!(f, "erase {naming} {} from {store}", escape::line(&entities.join(" and ")))
            }
            Self::DiscardLetters { letters } => {
                write!(f, "close {} unhandled", count(*letters, "dead letter"))
            }
            Self::DeleteGroup { name, at, consumers } => {
                write!(f, "delete group {} at {at}", escape::line(name))?;
                if *consumers > 0 {
                    write!(f, ", which {} using", plural::of(*consumers, "consumer is", "consumers are"))?;
                }
                f.write_str(", with its progress")
            }
            Self::ReplaceStore { store, backup } => {
                write!(f, "replace the store {store} by {}", backup.display())
            }
        }
    }
}
