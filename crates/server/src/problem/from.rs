//! Conversion of application errors to problems.

use bus::PublishError;
use domain::{
    StorageFailure, Violation,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayStoreError},
};
use event_replay::app::{
    AppError, Conflict, InvalidRequest, NotFound, StoreError, explanations::NO_SCHEMA,
    filter::FilterRequestError, publish::BeyondTime,
};
use replay::ReplayError;

use super::{Code, Problem};

impl From<StorageFailure> for Problem {
    fn from(failure: StorageFailure) -> Self {
        let code = match &failure {
            StorageFailure::Unavailable(_) | StorageFailure::Busy { .. } => Code::Unavailable,
            StorageFailure::Unknown(_) | StorageFailure::TooFewCopies { .. } => Code::Unknown,
            StorageFailure::Full(_) => Code::Full,
            _ => Code::Store,
        };
        Self::new(code, failure.to_string()).repeat(failure.retry().into())
    }
}

impl From<EventStoreError> for Problem {
    fn from(error: EventStoreError) -> Self {
        match error {
            EventStoreError::Storage(failure) => failure.into(),
            EventStoreError::ForeignCursor { .. } => Self::new(Code::BadParameter, error.to_string())
                .hint("use a cursor that this store gave, or leave it out"),
            EventStoreError::LostCursor(_) => {
                Self::new(Code::Gone, error.to_string()).hint("start again without the cursor")
            }
            EventStoreError::BatchTooLarge { .. } => Self::new(Code::TooLarge, error.to_string())
                .hint("send the events in several requests, or leave out atomic"),
            other => match other.failure().cloned() {
                Some(failure) => {
                    let said = other.to_string();
                    Self { detail: said, ..Self::from(failure) }
                }
                None => Self::new(Code::Store, other.to_string()),
            },
        }
    }
}

impl From<GroupStoreError> for Problem {
    fn from(error: GroupStoreError) -> Self {
        let said = error.to_string();
        match error {
            GroupStoreError::Storage(failure) => failure.into(),
            GroupStoreError::NoGroup(_) => Self::new(Code::NotFound, said),
            GroupStoreError::Differs { .. } => Self::new(Code::Conflict, said)
                .hint("leave key and segments as they are, take another name, or delete the group first"),
            GroupStoreError::BadSpec(_) | GroupStoreError::OrderCrossesPartitions { .. } => {
                Self::new(Code::Invalid, said)
            }
            GroupStoreError::BadCursor(_) => {
                Self::new(Code::Invalid, said).hint("name another place: start, head, a checkpoint or a time")
            }
            _ => Self::new(Code::Conflict, said),
        }
    }
}

impl From<CheckpointStoreError> for Problem {
    fn from(error: CheckpointStoreError) -> Self {
        match error {
            CheckpointStoreError::Storage(failure) => failure.into(),
            CheckpointStoreError::NameTaken(_) => Self::new(Code::Conflict, error.to_string())
                .hint("choose another name, or move the checkpoint with \"replace\": true"),
            other => Self::new(Code::Store, other.to_string()),
        }
    }
}

impl From<ReplayStoreError> for Problem {
    fn from(error: ReplayStoreError) -> Self {
        match error {
            ReplayStoreError::Storage(failure) => failure.into(),
            other => Self::new(Code::Conflict, other.to_string()),
        }
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        let said = error.to_string();
        match error {
            ReplayError::Events(error) => error.into(),
            ReplayError::Checkpoints(error) => error.into(),
            ReplayError::Replays(error) => error.into(),
            ReplayError::Groups(error) => error.into(),
            ReplayError::Storage(error) => error.into(),
            ReplayError::UnknownReplay(_)
            | ReplayError::UnknownGroup { .. }
            | ReplayError::UnknownCheckpoint { .. }
            | ReplayError::UnknownEvent(_) => Self::new(Code::NotFound, said),
            ReplayError::NoGroups => {
                Self::new(Code::Conflict, said).hint("POST /v1/groups makes a consumer group")
            }
            ReplayError::InvalidOption(_) => Self::new(Code::Invalid, said),
            ReplayError::Everything => {
                Self::new(Code::Invalid, said).hint("say which events, or add \"all\": true")
            }
            ReplayError::CheckpointGap { .. } => Self::new(Code::Conflict, said).hint(
                "\"allowGap\": true replays what is left, where retention alone is the reason; nothing was replayed",
            ),
            _ => Self::new(Code::Store, said),
        }
    }
}

impl From<InvalidRequest> for Problem {
    fn from(error: InvalidRequest) -> Self {
        let said = Self::new(Code::Invalid, error.to_string());
        match error {
            InvalidRequest::ReplaysEverything => said.hint("say which events, or add \"all\": true"),
            InvalidRequest::TypesWithoutBound => said.hint("add maxAge, maxEvents or maxBytes"),
            InvalidRequest::NoRetentionRules => {
                said.hint("give maxAge, maxEvents, maxBytes or toCheckpoint, or set retention rules")
            }
            InvalidRequest::NoLetters { .. } => {
                said.hint("name their ids, a group, a fingerprint or a type, or add \"all\": true")
            }
            InvalidRequest::SeveralCauses { .. } => {
                said.hint("add \"cause\", and \"type\" where one cause is named several times")
            }
            _ => said,
        }
    }
}

impl From<NotFound> for Problem {
    fn from(error: NotFound) -> Self {
        let code = match error {
            NotFound::AnyGroup => Code::Conflict,
            NotFound::Place { .. } => Code::Invalid,
            _ => Code::NotFound,
        };
        let said = Self::new(code, error.to_string());
        match error {
            NotFound::Group { known, .. } if known.is_empty() => {
                said.hint("there are no groups yet; POST /v1/groups makes one")
            }
            NotFound::Group { known, .. } => said.hint(format!("there are: {}", known.join(", "))),
            NotFound::AnyGroup => said.hint("POST /v1/groups makes a consumer group"),
            NotFound::OneReplay { .. } | NotFound::OnePlan { .. } => said.hint("give more of the id"),
            NotFound::Event { .. } | NotFound::Position { .. } => {
                said.hint("GET /v1/events shows ids and positions; a position is written 0:17")
            }
            NotFound::Place { .. } => said
                .hint("write start, head, a checkpoint's name, or a time such as 2024-01-15T10:30:00Z or 2h"),
            _ => said,
        }
    }
}

impl From<Conflict> for Problem {
    fn from(error: Conflict) -> Self {
        let code = match error {
            Conflict::PlanChanged { .. } | Conflict::PlanLostEvents { .. } => Code::PlanChanged,
            _ => Code::Conflict,
        };
        let said = Self::new(code, error.to_string());
        match error {
            Conflict::NeedsApproval { .. } => {
                said.hint("POST /v1/kept-plans keeps the plan, which another operator approves")
            }
            Conflict::PlanNotApproved { .. } | Conflict::OwnPlan { .. } => {
                said.hint("another operator sends POST /v1/kept-plans/{id}/approvals")
            }
            _ => said,
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Events(error) => error.into(),
            other => Self::new(Code::Unavailable, other.to_string()).repeat(super::Repeat::Later),
        }
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Invalid(error) => error.into(),
            AppError::NotFound(error) => error.into(),
            AppError::Conflict(error) => error.into(),
            AppError::Store(error) => (*error).into(),
            AppError::Events(error) => error.into(),
            AppError::Groups(error) => error.into(),
            AppError::Checkpoints(error) => error.into(),
            AppError::Mark { .. } => Self::new(Code::Gone, error.to_string())
                .hint("name another place: start, head, another checkpoint or a time"),
            AppError::Replays(error) => error.into(),
            AppError::Storage(error) => error.into(),
            AppError::Replay(error) => error.into(),
            other => Self::new(Code::Internal, other.to_string()),
        }
    }
}

impl From<FilterRequestError> for Problem {
    fn from(error: FilterRequestError) -> Self {
        let said = Self::new(Code::Invalid, error.to_string());
        match error {
            FilterRequestError::Condition(error) => Self::new(Code::BadParameter, format!("where: {error}")),
            _ => said.hint("from is the earlier end; both ends are part of the range"),
        }
    }
}

impl From<BeyondTime> for Problem {
    fn from(error: BeyondTime) -> Self {
        Self::new(Code::BadParameter, format!("expiresIn: {error}"))
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let said = error.to_string();
        match error {
            PublishError::Rejected(rejection) => {
                let problem = Self::new(Code::Rejected, said).errors(&rejection.violations);
                match rejection.violations.iter().any(Violation::is_no_schema) {
                    true => problem.hint(NO_SCHEMA.over_http),
                    false => problem,
                }
            }
            PublishError::Conflict { .. } | PublishError::ScheduleConflict { .. } => {
                Self::new(Code::Conflict, said)
            }
            PublishError::Erased { .. } => Self::new(Code::Erased, said),
            PublishError::DelayTooLong(_) => Self::new(Code::BadParameter, format!("delay: {said}")),
            PublishError::Store(error) => error.into(),
            PublishError::Schedule(failure) => failure.into(),
            _ => Self::new(Code::Internal, said),
        }
    }
}
