//! The reasons for which an operation did not run.

use domain::{
    DeadLetterState, Position, StorageFailure, Violation,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayState, ReplayStoreError},
};
use jiff::Timestamp;
use replay::ReplayError;
use thiserror::Error;

use super::{documents::state_name, replay_state::name_of, state::FoldError, store::StoreError};
use crate::{settings::StoreLocation, text::escape};

/// The reason for which an operation did not run. The command line and other front ends add a hint.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AppError {
    /// The request is not valid.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// A thing that the request names does not exist.
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// A thing that the request names is in a state that does not allow the request.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The store could not be opened.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// An operation on the log failed.
    #[error(transparent)]
    Events(#[from] EventStoreError),
    /// An operation on groups failed.
    #[error(transparent)]
    Groups(#[from] GroupStoreError),
    /// An operation on checkpoints failed.
    #[error(transparent)]
    Checkpoints(#[from] CheckpointStoreError),
    /// The mark of the checkpoint is not a position of this store.
    #[error("checkpoint {}: {error}", escape::line(checkpoint))]
    Mark {
        /// The name of the checkpoint.
        checkpoint: String,
        /// The error of the store.
        error: EventStoreError,
    },
    /// An operation on the records of replays failed.
    #[error(transparent)]
    Replays(#[from] ReplayStoreError),
    /// An operation on dead letters, the schedule, schemas or counters failed.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// A replay, a redrive or retention failed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The fold of a state failed.
    #[error(transparent)]
    Fold(#[from] FoldError),
    /// The operating system returned no random numbers.
    #[error("the system's source of random numbers failed: {0}")]
    Random(String),
}

impl From<StoreError> for AppError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

/// A request that is not valid.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidRequest {
    /// The replay has no filter, and the caller did not confirm that it replays all events.
    #[error("this would replay every event in the store")]
    ReplaysEverything,
    /// No event can be between the two bounds.
    #[error(
        "no event is after {:?} and at or before {:?}",
        escape::short(after, 60),
        escape::short(until, 60)
    )]
    EmptyBounds {
        /// The event after which the selection begins.
        after: String,
        /// The event at which it ends.
        until: String,
    },
    /// Several partitions have an event of the id.
    #[error("several events have the id {:?}: {}; name one of these positions", escape::short(id, 60), positions.join(", "))]
    AmbiguousEvent {
        /// The id.
        id: String,
        /// The positions of the events.
        positions: Vec<String>,
    },
    /// The group missed events that one replay cannot send together.
    #[error(
        "group {} missed events in several ways, and one replay sends one of them: {}",
        escape::line(group),
        joined(causes)
    )]
    SeveralCauses {
        /// The name of the group.
        group: String,
        /// Each cause with its events.
        causes: Vec<String>,
    },
    /// The trim names types but no bound.
    #[error("a trim of some types needs a limit")]
    TypesWithoutBound,
    /// The trim has no bound, and the settings have no retention rules.
    #[error("trim needs a limit, and the settings have no retention rules")]
    NoRetentionRules,
    /// The erasure names no entity.
    #[error("erase needs an entity")]
    NoEntities,
    /// The erasure names entities of too many kinds.
    #[error("at most {0} kinds of entities can be erased at once")]
    TooManyKinds(usize),
    /// The request selects dead letters both by ids and by a query.
    #[error("name dead letters by their ids, or by what they have in common, not by both")]
    LettersNamedTwice,
    /// The request selects no dead letters, and the caller did not ask for all.
    #[error("{verb} needs dead letters to work on")]
    NoLetters {
        /// The operation on the dead letters.
        verb: &'static str,
    },
    /// The group does not exist and has no dead letters.
    #[error("there is no group {:?}, and it has no dead letters; {}", escape::line(group), there_are(known))]
    LettersOfNoGroup {
        /// The name of the group.
        group: String,
        /// The groups that exist or have dead letters.
        known: Vec<String>,
    },
    /// The group of the consumer does not exist, but the store has other groups.
    #[error("there is no group {:?}; {}", escape::line(group), meant(near, known))]
    GroupNotToBeMade {
        /// The name of the group.
        group: String,
        /// Groups with similar names.
        near: Vec<String>,
        /// All groups.
        known: Vec<String>,
    },
    /// The interval of a histogram is no whole number of seconds.
    #[error("an interval of a histogram is a whole number of seconds, at least 1, such as 1m, 1h or 1d")]
    BadInterval,
    /// A histogram would have too many intervals.
    #[error("more than {0} intervals have events; choose a longer interval, or bound the time")]
    TooManyIntervals(usize),
    /// The second moment of a difference is before the first.
    #[error("the second time is before the first")]
    MomentsReversed,
    /// The JSON Patch cannot be applied.
    #[error("the patch cannot be applied: {0}")]
    BadPatch(String),
    /// The event has a number that a patch would change, because no 64-bit float holds it.
    #[error("the event has a number that no 64-bit float holds, and a patch would change it")]
    PatchChangesNumbers,
    /// The edit changes nothing.
    #[error("nothing would change")]
    NothingEdited,
    /// The edited event is not valid.
    #[error("the edited event is invalid: {}", said(violations))]
    EditedEvent {
        /// The violations.
        violations: Vec<Violation>,
    },
    /// The edit would change a member that decides where the delivery belongs.
    #[error("an edit cannot change {member}: it decides where the event belongs")]
    EditChangesIdentity {
        /// The name of the member.
        member: &'static str,
    },
    /// The token has no role, so it permits nothing.
    #[error("a token needs a role")]
    NoRoles,
    /// The token names groups, but its roles do not permit to consume.
    #[error("groups limit what a token may consume, and its roles do not allow consuming")]
    GroupsWithoutConsuming,
    /// The expiry of the token is in the past.
    #[error("a token cannot expire at {0}, which is past")]
    ExpiredToken(Timestamp),
    /// The request sets a number of partitions for a store that always has one.
    #[error("{0} has one partition: only a store on Redis is divided")]
    NotDivided(StoreLocation),
    /// The request needs a file, but the store is in memory.
    #[error("a store in memory has no file")]
    InMemory,
    /// The request needs a file, but the store is on a server.
    #[error("{0} is on a Redis server, and this command works with files alone")]
    OnServer(StoreLocation),
}

/// The largest number of violations in a message.
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

/// A thing that a request names does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NotFound {
    /// The group does not exist.
    #[error("there is no group {:?}", escape::line(name))]
    Group {
        /// The name of the group.
        name: String,
        /// Some existing groups, similar names first.
        known: Vec<String>,
    },
    /// The store has no group.
    #[error("there are no consumer groups to replay into; nothing was done")]
    AnyGroup,
    /// The replay does not exist.
    #[error("there is no replay {:?}", escape::short(id, 60))]
    Replay {
        /// The id of the replay, or a prefix of it.
        id: String,
    },
    /// The prefix matches several replays.
    #[error("several replays begin with {beginning:?}")]
    OneReplay {
        /// The prefix of the id.
        beginning: String,
    },
    /// The dead letter does not exist.
    #[error("no dead letter has the id {:?}", escape::short(id, 60))]
    DeadLetter {
        /// The id of the dead letter, or a prefix of it.
        id: String,
    },
    /// The prefix matches several dead letters.
    #[error("several dead letters begin with {:?}", escape::short(beginning, 60))]
    OneDeadLetter {
        /// The prefix of the id.
        beginning: String,
    },
    /// The kept plan does not exist.
    #[error("there is no plan {:?}", escape::short(id, 60))]
    Plan {
        /// The id of the plan, or a prefix of it.
        id: String,
    },
    /// The prefix matches several kept plans.
    #[error("several plans begin with {:?}", escape::short(beginning, 60))]
    OnePlan {
        /// The prefix of the id.
        beginning: String,
    },
    /// The token does not exist.
    #[error("there is no token {:?}", escape::short(name, 60))]
    Token {
        /// The name or id of the token.
        name: String,
        /// Tokens with similar names.
        near: Vec<String>,
    },
    /// The checkpoint does not exist.
    #[error("there is no checkpoint {name:?}")]
    Checkpoint {
        /// The name or id of the checkpoint.
        name: String,
        /// Checkpoints with similar names.
        near: Vec<String>,
    },
    /// No event has the correlation id.
    #[error("no event has the correlation id {:?}", escape::short(id, 60))]
    Correlation {
        /// The correlation id.
        id: String,
    },
    /// No event has the id.
    #[error("no event has the id {:?}", escape::short(id, 60))]
    Event {
        /// The id.
        id: String,
    },
    /// The log has no such position.
    #[error("there is no position {position}; the log ends at {}", head.join(", "))]
    Position {
        /// The position.
        position: Position,
        /// The newest position of each partition.
        head: Vec<String>,
    },
    /// No event of the requested types names the entity.
    #[error("no event{} names {}", until.map(|until| format!(" up to {until}")).unwrap_or_default(), escape::line(entity))]
    EventsOfEntity {
        /// The entity.
        entity: String,
        /// The latest timestamp of the request.
        until: Option<Timestamp>,
    },
    /// The text does not name a position in the log.
    #[error("{:?} is not a checkpoint or a time", escape::short(text, 60))]
    Place {
        /// The text.
        text: String,
        /// Checkpoints with similar names.
        near: Vec<String>,
    },
}

/// A thing that a request names is in a state that does not allow the request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The replay has ended.
    #[error("replay {id} has ended ({}); nothing was changed", name_of(*state))]
    ReplayIsOver {
        /// The id of the replay.
        id: String,
        /// The state of the replay.
        state: ReplayState,
    },
    /// The replay has not ended, so it cannot be deleted.
    #[error("replay {id} is {}; only a replay that has ended can be deleted", name_of(*state))]
    ReplayGoesOn {
        /// The id of the replay.
        id: String,
        /// The state of the replay.
        state: ReplayState,
    },
    /// The replay has not ended, so more events may fail.
    #[error("replay {id} is {}; what failed in it can be sent again when it has ended", name_of(*state))]
    ReplayNotOver {
        /// The id of the replay.
        id: String,
        /// The state of the replay.
        state: ReplayState,
    },
    /// No event failed in the replay.
    #[error("no event failed in replay {id}; nothing was sent")]
    NothingFailed {
        /// The id of the replay.
        id: String,
    },
    /// More events failed in the replay than its record names.
    #[error("more events failed in replay {id} than the {named} that its record names; nothing was sent")]
    TooManyFailed {
        /// The id of the replay.
        id: String,
        /// The number of failed events that the record names.
        named: u64,
    },
    /// The store does not know which events the group passed.
    #[error(
        "the store does not know which events group {} passed without delivering them",
        escape::line(group)
    )]
    PassedUnknown {
        /// The name of the group.
        group: String,
    },
    /// The consumer asks for other event types than the types of its group.
    #[error("the group {} takes {}, not {}", escape::line(group), listed(has), listed(asked))]
    GroupTypesDiffer {
        /// The name of the group.
        group: String,
        /// The event types of the group. Empty: all.
        has: Vec<String>,
        /// The event types of the request.
        asked: Vec<String>,
    },
    /// The effect differs from the confirmed effect.
    #[error("the plan now has the hash {found}, and {confirmed:?} was confirmed; nothing was changed")]
    PlanChanged {
        /// The confirmed hash.
        confirmed: String,
        /// The current hash.
        found: String,
    },
    /// The dead letter is not open.
    #[error("dead letter {id} is {}, and only an open one can be edited; nothing was changed", state_name(*state))]
    LetterNotOpen {
        /// The id of the dead letter.
        id: String,
        /// The state of the dead letter.
        state: DeadLetterState,
    },
    /// The settings require an approval of the replay.
    #[error("the replay needs the approval of another operator: {reason}; nothing was sent")]
    NeedsApproval {
        /// The rule that requires it.
        reason: String,
    },
    /// No other operator has approved the plan.
    #[error("no other operator has approved the plan {id}: {reason}; nothing was sent")]
    PlanNotApproved {
        /// The id of the plan.
        id: String,
        /// The rule that requires an approval.
        reason: String,
    },
    /// The plan needs no approval.
    #[error("the plan {id} needs no approval; nothing was changed")]
    NoApprovalNeeded {
        /// The id of the plan.
        id: String,
    },
    /// An operator approves a plan that the same operator made.
    #[error("{} made the plan {id}, and another operator must approve it", escape::line(operator))]
    OwnPlan {
        /// The id of the plan.
        id: String,
        /// The operator.
        operator: String,
    },
    /// The plan has an approval already.
    #[error("{} approved the plan {id} already; nothing was changed", escape::line(by))]
    PlanApproved {
        /// The id of the plan.
        id: String,
        /// The operator who approved it.
        by: String,
    },
    /// The plan has expired.
    #[error("the plan {id} expired at {at}")]
    PlanExpired {
        /// The id of the plan.
        id: String,
        /// The time at which it expired.
        at: Timestamp,
    },
    /// The log no longer has every event of the plan.
    #[error(
        "the plan {id} has changed: {} erased or trimmed since it was made; nothing was sent",
        crate::text::plural::of(*missing, "event was", "events were")
    )]
    PlanLostEvents {
        /// The id of the plan.
        id: String,
        /// The number of its missing events.
        missing: u64,
    },
    /// The plan has another target.
    #[error("the plan {id} goes to {}, not to {}; nothing was sent", escape::line(to), escape::line(asked))]
    PlanGoesElsewhere {
        /// The id of the plan.
        id: String,
        /// The target of the plan.
        to: String,
        /// The target of the request.
        asked: String,
    },
    /// A group of the plan was deleted.
    #[error(
        "the group {} of the plan {id} was deleted since it was made; nothing was sent",
        escape::line(group)
    )]
    PlanGroupGone {
        /// The id of the plan.
        id: String,
        /// The name of the group.
        group: String,
    },
    /// Another request changed the plan at the same time.
    #[error("another request changed the plan {id} at the same time; nothing was sent")]
    PlanInUse {
        /// The id of the plan.
        id: String,
    },
    /// Another token has this name.
    #[error("there is a token {:?} already; nothing was changed", escape::short(name, 60))]
    TokenExists {
        /// The name.
        name: String,
    },
    /// The store exists with another number of partitions.
    #[error(
        "there is a store already, and it has {}, not {wanted}: {store}",
        crate::text::plural::count(*partitions as u64, "partition")
    )]
    PartitionsDiffer {
        /// The store.
        store: StoreLocation,
        /// The number of partitions of the store.
        partitions: usize,
        /// The number of partitions in the request.
        wanted: u16,
    },
}
