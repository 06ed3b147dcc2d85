//! Why the application did not do what was asked.

use domain::{
    StorageFailure,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayState, ReplayStoreError},
};
use replay::ReplayError;
use thiserror::Error;

use super::{replay_state::name_of, store::StoreError};
use crate::{settings::StoreLocation, text::escape};

/// Why the application did not do what was asked. The command line and other front ends add what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppError {
    /// The request makes no sense.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// What it names is not there.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// What it names is not in a state for it.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The store could not be opened.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// The log failed.
    #[error(transparent)]
    Events(#[from] EventStoreError),
    /// The groups failed.
    #[error(transparent)]
    Groups(#[from] GroupStoreError),
    /// The checkpoints failed.
    #[error(transparent)]
    Checkpoints(#[from] CheckpointStoreError),
    /// The checkpoint marks a place that this store does not have.
    #[error("checkpoint {}: {error}", escape::line(checkpoint))]
    Mark {
        /// Its name.
        checkpoint: String,
        /// What the store says.
        error: EventStoreError,
    },
    /// The records of replays failed.
    #[error(transparent)]
    Replays(#[from] ReplayStoreError),
    /// The dead letters, the schedule, the schemas or the counters failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// A replay, a redrive or retention failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

/// A request that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// A replay without any filter, not confirmed by the caller.
    #[error("this would replay every event in the store")]
    ReplaysEverything,
    /// A trim that names types and no bound.
    #[error("a trim of some types wants a bound")]
    TypesWithoutBound,
    /// A trim without a bound, where there are no retention rules.
    #[error("trim wants to know what may go, and the settings have no retention rules")]
    NoRetentionRules,
    /// An erasure that names nothing.
    #[error("erase wants to know what: name an entity")]
    NoEntities,
    /// An erasure that names entities of too many kinds.
    #[error("at most {0} kinds of entities can be erased at once")]
    TooManyKinds(usize),
    /// Dead letters by their ids and by what they have in common.
    #[error("name dead letters by their ids, or by what they have in common, not by both")]
    LettersNamedTwice,
    /// No dead letters are named, and the caller did not ask for all.
    #[error("{verb} wants to know which dead letters")]
    NoLetters {
        /// What was to be done with them.
        verb: &'static str,
    },
    /// Dead letters of a group that has none and does not exist.
    #[error("there is no group {:?}, and it has no dead letters; {}", escape::line(group), there_are(known))]
    LettersOfNoGroup {
        /// Its name.
        group: String,
        /// The groups that there are, or that have dead letters.
        known: Vec<String>,
    },
    /// A consumer of a group that is not there, in a store that has others.
    #[error("there is no group {:?}; {}", escape::line(group), meant(near, known))]
    GroupNotToBeMade {
        /// Its name.
        group: String,
        /// Groups of nearly the same name.
        near: Vec<String>,
        /// All groups.
        known: Vec<String>,
    },
    /// Partitions of a store that has one.
    #[error("{0} has one partition: only a store on Redis is divided")]
    NotDivided(StoreLocation),
    /// A file is wanted, and the store is in memory.
    #[error("a store in memory has no file")]
    InMemory,
    /// A file is wanted, and the store is on a server.
    #[error("{0} is on a Redis server, and this command works with files alone")]
    OnServer(StoreLocation),
}

fn listed(types: &[String]) -> String {
    if types.is_empty() { "all types".to_owned() } else { joined(types) }
}

fn there_are(groups: &[String]) -> String {
    if groups.is_empty() {
        "there are no groups".to_owned()
    } else {
        format!("there are: {}", joined(groups))
    }
}

fn meant(near: &[String], known: &[String]) -> String {
    match near {
        [] => there_are(known),
        near => format!("did you mean {}?", joined(near)),
    }
}

fn joined(names: &[String]) -> String {
    names.iter().map(|name| escape::line(name)).collect::<Vec<_>>().join(", ")
}

/// What a request names and nothing is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotFound {
    /// A group.
    #[error("there is no group {:?}", escape::line(name))]
    Group {
        /// Its name.
        name: String,
        /// Some groups that there are.
        known: Vec<String>,
    },
    /// Any group.
    #[error("there is no consumer group yet that events could be replayed into; nothing was done")]
    AnyGroup,
    /// A replay.
    #[error("there is no replay {:?}", escape::short(id, 60))]
    Replay {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// One replay alone.
    #[error("several replays begin with {beginning:?}")]
    OneReplay {
        /// The beginning of its id.
        beginning: String,
    },
    /// A checkpoint.
    #[error("there is no checkpoint {name:?}")]
    Checkpoint {
        /// Its name or id.
        name: String,
    },
    /// A place in the log.
    #[error("{:?} is no checkpoint and no time", escape::short(text, 60))]
    Place {
        /// What names it.
        text: String,
    },
}

/// What a request names, in a state that does not allow it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The replay is over.
    #[error("replay {id} is over ({}); nothing was changed", name_of(*state))]
    ReplayIsOver {
        /// Its id.
        id: String,
        /// Its state.
        state: ReplayState,
    },
    /// The replay is not over.
    #[error("replay {id} is {}; only one that is over can be deleted", name_of(*state))]
    ReplayGoesOn {
        /// Its id.
        id: String,
        /// Its state.
        state: ReplayState,
    },
    /// A consumer asks for other types than its group takes.
    #[error("the group {} takes {}, not {}", escape::line(group), listed(has), listed(asked))]
    GroupTypesDiffer {
        /// The group.
        group: String,
        /// The types that it takes; none: all.
        has: Vec<String>,
        /// The types that were asked for.
        asked: Vec<String>,
    },
    /// The store has another number of partitions.
    #[error(
        "there is a store already, and it has {}, not {wanted}: {store}",
        crate::text::plural::count(*partitions as u64, "partition")
    )]
    PartitionsDiffer {
        /// The store.
        store: StoreLocation,
        /// How many it has.
        partitions: usize,
        /// How many were asked for.
        wanted: u16,
    },
}
