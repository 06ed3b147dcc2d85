//! Why the application did not do what was asked.

use domain::{
    DeadLetterState, StorageFailure, Violation,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayState, ReplayStoreError},
};
use jiff::Timestamp;
use replay::ReplayError;
use thiserror::Error;

use super::{documents::state_name, replay_state::name_of, store::StoreError};
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
    /// The system gives no random numbers.
    #[error("the system's source of random numbers failed: {0}")]
    Random(String),
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
    #[error("a trim of some types needs a limit")]
    TypesWithoutBound,
    /// A trim without a bound, where there are no retention rules.
    #[error("trim needs a limit, and the settings have no retention rules")]
    NoRetentionRules,
    /// An erasure that names nothing.
    #[error("erase needs an entity")]
    NoEntities,
    /// An erasure that names entities of too many kinds.
    #[error("at most {0} kinds of entities can be erased at once")]
    TooManyKinds(usize),
    /// Dead letters by their ids and by what they have in common.
    #[error("name dead letters by their ids, or by what they have in common, not by both")]
    LettersNamedTwice,
    /// No dead letters are named, and the caller did not ask for all.
    #[error("{verb} needs dead letters to work on")]
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
    /// A JSON Patch that cannot be applied.
    #[error("the patch cannot be applied: {0}")]
    BadPatch(String),
    /// A patch of an event with a number that a patch would change.
    #[error("the event has a number that no 64-bit float holds, and a patch would change it")]
    PatchChangesNumbers,
    /// An edit that leaves everything as it is.
    #[error("nothing would change")]
    NothingEdited,
    /// An edited event that is invalid.
    #[error("the edited event is invalid: {}", said(violations))]
    EditedEvent {
        /// What is wrong with it.
        violations: Vec<Violation>,
    },
    /// An edit that would make another delivery of it.
    #[error("an edit cannot change {member}: it decides where the event belongs")]
    EditChangesIdentity {
        /// What it would change.
        member: &'static str,
    },
    /// A token that allows nothing.
    #[error("a token needs a role")]
    NoRoles,
    /// A token for groups that may not consume.
    #[error("groups limit what a token may consume, and its roles do not allow consuming")]
    GroupsWithoutConsuming,
    /// A token that would never be valid.
    #[error("a token cannot expire at {0}, which is past")]
    ExpiredToken(Timestamp),
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

/// Violations that are named.
const MOST_VIOLATIONS: usize = 5;

fn said(violations: &[Violation]) -> String {
    violations.iter().take(MOST_VIOLATIONS).map(Violation::to_string).collect::<Vec<_>>().join("; ")
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
        /// Some groups that there are; those of nearly the same name first.
        known: Vec<String>,
    },
    /// Any group.
    #[error("there are no consumer groups to replay into; nothing was done")]
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
    /// A dead letter.
    #[error("no dead letter has the id {:?}", escape::short(id, 60))]
    DeadLetter {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// One dead letter alone.
    #[error("several dead letters begin with {:?}", escape::short(beginning, 60))]
    OneDeadLetter {
        /// The beginning of its id.
        beginning: String,
    },
    /// A kept plan.
    #[error("there is no plan {:?}", escape::short(id, 60))]
    Plan {
        /// Its id, or the beginning of it.
        id: String,
    },
    /// One kept plan alone.
    #[error("several plans begin with {:?}", escape::short(beginning, 60))]
    OnePlan {
        /// The beginning of its id.
        beginning: String,
    },
    /// A token.
    #[error("there is no token {:?}", escape::short(name, 60))]
    Token {
        /// Its name or id.
        name: String,
        /// Names of tokens that are nearly the same.
        near: Vec<String>,
    },
    /// A checkpoint.
    #[error("there is no checkpoint {name:?}")]
    Checkpoint {
        /// Its name or id.
        name: String,
        /// Checkpoints of nearly the same name.
        near: Vec<String>,
    },
    /// Events of a correlation.
    #[error("no event has the correlation id {:?}", escape::short(id, 60))]
    Correlation {
        /// The correlation id.
        id: String,
    },
    /// A place in the log.
    #[error("{:?} is not a checkpoint or a time", escape::short(text, 60))]
    Place {
        /// What names it.
        text: String,
        /// Checkpoints of nearly the same name.
        near: Vec<String>,
    },
}

/// What a request names, in a state that does not allow it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The replay is over.
    #[error("replay {id} has ended ({}); nothing was changed", name_of(*state))]
    ReplayIsOver {
        /// Its id.
        id: String,
        /// Its state.
        state: ReplayState,
    },
    /// The replay is not over.
    #[error("replay {id} is {}; only a replay that has ended can be deleted", name_of(*state))]
    ReplayGoesOn {
        /// Its id.
        id: String,
        /// Its state.
        state: ReplayState,
    },
    /// The replay is not over, so more of it may fail.
    #[error("replay {id} is {}; what failed in it can be sent again when it has ended", name_of(*state))]
    ReplayNotOver {
        /// Its id.
        id: String,
        /// Its state.
        state: ReplayState,
    },
    /// No event failed in the replay.
    #[error("no event failed in replay {id}; nothing was sent")]
    NothingFailed {
        /// Its id.
        id: String,
    },
    /// More events failed in the replay than its record names.
    #[error("more events failed in replay {id} than the {named} that its record names; nothing was sent")]
    TooManyFailed {
        /// Its id.
        id: String,
        /// How many it names.
        named: u64,
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
    /// What would be done is not what was confirmed.
    #[error("the plan now has the hash {found}, and {confirmed:?} was confirmed; nothing was changed")]
    PlanChanged {
        /// The hash that was confirmed.
        confirmed: String,
        /// The hash of what would be done.
        found: String,
    },
    /// The dead letter is not open.
    #[error("dead letter {id} is {}, and only an open one can be edited; nothing was changed", state_name(*state))]
    LetterNotOpen {
        /// Its id.
        id: String,
        /// Its state.
        state: DeadLetterState,
    },
    /// The settings ask for an approval of the replay.
    #[error("the replay needs the approval of another operator: {reason}; nothing was sent")]
    NeedsApproval {
        /// Why.
        reason: String,
    },
    /// No other operator has approved the plan.
    #[error("no other operator has approved the plan {id}: {reason}; nothing was sent")]
    PlanNotApproved {
        /// Its id.
        id: String,
        /// Why it needs an approval.
        reason: String,
    },
    /// The plan needs no approval.
    #[error("the plan {id} needs no approval; nothing was changed")]
    NoApprovalNeeded {
        /// Its id.
        id: String,
    },
    /// An operator approves a plan of their own.
    #[error("{} made the plan {id}, and another operator must approve it", escape::line(operator))]
    OwnPlan {
        /// Its id.
        id: String,
        /// The operator.
        operator: String,
    },
    /// The plan is approved.
    #[error("{} approved the plan {id} already; nothing was changed", escape::line(by))]
    PlanApproved {
        /// Its id.
        id: String,
        /// Who approved it.
        by: String,
    },
    /// The time of the plan is over.
    #[error("the plan {id} expired at {at}")]
    PlanExpired {
        /// Its id.
        id: String,
        /// When.
        at: Timestamp,
    },
    /// The log no longer has all of the plan.
    #[error(
        "the plan {id} has changed: {} erased or trimmed since it was made; nothing was sent",
        crate::text::plural::of(*missing, "event was", "events were")
    )]
    PlanLostEvents {
        /// Its id.
        id: String,
        /// How many of its events are gone.
        missing: u64,
    },
    /// The plan goes to another target.
    #[error("the plan {id} goes to {}, not to {}; nothing was sent", escape::line(to), escape::line(asked))]
    PlanGoesElsewhere {
        /// Its id.
        id: String,
        /// Its target.
        to: String,
        /// The target that was asked for.
        asked: String,
    },
    /// A group of the plan is not there any more.
    #[error(
        "the group {} of the plan {id} was deleted since it was made; nothing was sent",
        escape::line(group)
    )]
    PlanGroupGone {
        /// Its id.
        id: String,
        /// The group.
        group: String,
    },
    /// Another request changed the plan at the same time.
    #[error("another request changed the plan {id} at the same time; nothing was sent")]
    PlanInUse {
        /// Its id.
        id: String,
    },
    /// Another token has the name.
    #[error("there is a token {:?} already; nothing was changed", escape::short(name, 60))]
    TokenExists {
        /// The name.
        name: String,
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
