//! What a person can do about a request that was refused.

use bus::BusError;
use domain::StorageFailure;
use event_replay::{
    OpenError, SettingsError,
    app::{AppError, Conflict, InvalidRequest, NotFound, StoreError, backup::RestoreError},
};

use super::{CliError, reaching};
use crate::output::escape;

impl From<AppError> for CliError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Invalid(error) => error.into(),
            AppError::NotFound(error) => error.into(),
            AppError::Conflict(error) => error.into(),
            AppError::Store(error) => (*error).into(),
            AppError::Events(error) => error.into(),
            AppError::Groups(error) => error.into(),
            AppError::Checkpoints(error) => error.into(),
            AppError::Mark { checkpoint, error } => Self::from(error)
                .during(format!("checkpoint {}", escape::line(&checkpoint)))
                .hint("name another place: start, head, another checkpoint or a time"),
            AppError::Replays(error) => error.into(),
            AppError::Storage(error) => error.into(),
            AppError::Replay(error) => error.into(),
            other => Self::failed(other.to_string()),
        }
    }
}

impl From<InvalidRequest> for CliError {
    fn from(error: InvalidRequest) -> Self {
        let said = Self::usage(error.to_string());
        match error {
            InvalidRequest::ReplaysEverything => {
                said.hint("say which events (--type, --user-id, --from …), or add --all")
            }
            InvalidRequest::TypesWithoutBound => Self::usage("trim --type wants a bound")
                .hint("add --max-age, --max-events or --max-bytes"),
            InvalidRequest::NoRetentionRules => said
                .hint("give --max-age, --max-events, --max-bytes or --to-checkpoint, or set retention.max_age"),
            InvalidRequest::NoEntities => said.hint("event-replay erase user=user-123 --dry-run"),
            InvalidRequest::LettersNamedTwice => {
                Self::usage("name dead letters by their ids, or by flags, not by both")
            }
            InvalidRequest::LettersOfNoGroup { .. } => {
                said.hint("`event-replay dead-letters list` shows those of every group")
            }
            InvalidRequest::GroupNotToBeMade { .. } => said.hint("add --create to make a new group of this name"),
            InvalidRequest::NoLetters { .. } => {
                said.hint("name their ids, --group, --fingerprint or --type …, or add --all")
            }
            InvalidRequest::InMemory => {
                Self::usage("a store in memory has no file: name one with --store sqlite:PATH")
            }
            InvalidRequest::OnServer(_) => said.hint(
                "docs/redis.md says how a store on Redis is backed up; `event-replay export` copies the events",
            ),
            _ => said,
        }
    }
}

impl From<NotFound> for CliError {
    fn from(error: NotFound) -> Self {
        let said = Self::failed(error.to_string());
        match error {
            NotFound::Group { known, .. } if known.is_empty() => {
                said.hint("there are no groups yet; `event-replay groups create NAME` makes one")
            }
            NotFound::Group { known, .. } => {
                said.hint(format!("there are: {}", escape::line(&known.join(", "))))
            }
            NotFound::AnyGroup => said.hint(
                "`event-replay consume NAME` runs a consumer and makes its group, `event-replay groups create NAME` \
                 makes a group alone, --target stdout needs none",
            ),
            NotFound::Replay { .. } => said.hint("`event-replay replays list` shows them"),
            NotFound::OneReplay { .. } => {
                said.hint("give more of the id; `event-replay replays list` shows them")
            }
            NotFound::Checkpoint { .. } => said.hint("`event-replay checkpoints list` shows them"),
            NotFound::Place { .. } => said.during("--at").hint(
                "write start, head, a checkpoint's name (`event-replay checkpoints list`), or a time: \
                 2024-01-15T10:30:00Z, 2h (ago), today 09:00",
            ),
            _ => said,
        }
    }
}

impl From<Conflict> for CliError {
    fn from(error: Conflict) -> Self {
        let said = Self::failed(error.to_string());
        match error {
            Conflict::ReplayGoesOn { id, .. } => {
                said.hint(format!("`event-replay replays cancel {id}` ends it first"))
            }
            Conflict::GroupTypesDiffer { group, .. } => said.hint(format!(
                "leave out --type to consume what the group takes; `event-replay groups create {} --type TYPE` changes it for \
                 every consumer",
                escape::line(&group)
            )),
            Conflict::PartitionsDiffer { .. } => said.hint(
                "the number of partitions never changes; make another store and copy this one with \
                 `event-replay migrate`",
            ),
            _ => said,
        }
    }
}

impl From<SettingsError> for CliError {
    fn from(error: SettingsError) -> Self {
        let said = error.to_string();
        match error {
            SettingsError::Invalid { advice, .. } => match advice {
                Some(advice) => Self::usage(said).hint(advice),
                None => Self::usage(said),
            },
            _ => Self::failed(said),
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        let said = Self::failed(error.to_string());
        match error {
            StoreError::Settings(error) => error.into(),
            StoreError::Events(error) => error.into(),
            StoreError::KeepsDiffer { .. } => said.hint(
                "leave ENABLE_EVENT_STORE unset to take the store as it is, or name another store with --store",
            ),
            StoreError::Open { error: OpenError::Missing { .. }, .. } => said.hint(
                "`event-replay init` makes an empty one, `publish` and `import` make it with the first events, \
                 --store names another",
            ),
            StoreError::Open { error: OpenError::Folder { .. }, .. } => {
                said.hint("name a file in it, as sqlite:FOLDER/events.db")
            }
            StoreError::Open { store, error: OpenError::Storage { failure, .. } } => match (&failure, store.is_redis())
            {
                (StorageFailure::Unavailable(reason), true) => {
                    let is_tls = store.to_string().starts_with("rediss");
                    said.hint(reaching::advice(reason, is_tls, store.origin()))
                }
                (StorageFailure::Denied(_), true) => said.hint(
                    "docs/redis.md has the rights that a user needs; a password is set with REDIS_PASSWORD or \
                     EVENT_REPLAY_REDIS_PASSWORD_FILE",
                ),
                (StorageFailure::Foreign(_), true) => said.hint("nothing was changed"),
                _ => Self::from(failure).during(format!("store {store}")),
            },
            _ => said,
        }
    }
}

impl From<RestoreError> for CliError {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Request(error) => error.into(),
            RestoreError::Storage(failure) => failure.into(),
            other => Self::failed(other.to_string()),
        }
    }
}

impl From<BusError> for CliError {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Events(error) => error.into(),
            BusError::Group(error) => error.into(),
            BusError::Checkpoint(error) => error.into(),
            error => Self::usage(error.to_string()),
        }
    }
}
