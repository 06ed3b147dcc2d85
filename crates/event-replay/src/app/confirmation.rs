//! The effect of a request that is hard to reverse, with its figures. A front end asks for a confirmation before the
//! request runs.

use std::{fmt, path::PathBuf};

use crate::{
    settings::StoreLocation,
    text::{
        escape,
        plural::{self, count, size},
    },
};

/// The effect to confirm. Its text completes the sentence "this would …".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confirmation {
    /// A trim removes events.
    DropEvents {
        /// The number of events.
        events: u64,
        /// The size of their JSON in bytes.
        bytes: u64,
        /// The store.
        store: StoreLocation,
    },
    /// An erasure removes every event that names one of the entities.
    EraseEntities {
        /// The number of events that name one of the entities.
        events: u64,
        /// The entities.
        entities: Vec<String>,
        /// The store.
        store: StoreLocation,
    },
    /// Dead letters are discarded.
    DiscardLetters {
        /// The number of dead letters.
        letters: u64,
    },
    /// A group is deleted.
    DeleteGroup {
        /// The name of the group.
        name: String,
        /// The position of the group.
        at: String,
        /// The number of live consumers.
        consumers: u64,
    },
    /// A backup replaces the store.
    ReplaceStore {
        /// The store.
        store: StoreLocation,
        /// The path of the backup.
        backup: PathBuf,
    },
}

impl Confirmation {
    /// Returns the command that reverses the effect. `None`: nothing reverses it.
    pub fn undoing(&self) -> Option<&'static str> {
        match self {
            Self::DiscardLetters { .. } => Some("dead-letters restore"),
            Self::DropEvents { .. }
            | Self::EraseEntities { .. }
            | Self::DeleteGroup { .. }
            | Self::ReplaceStore { .. } => None,
        }
    }
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
