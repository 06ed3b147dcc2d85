//! Advice for faults of a store and of a replay.

use domain::{
    StorageFailure,
    ports::{CheckpointStoreError, EventStoreError, GroupStoreError, ReplayStoreError},
};
use event_replay::app::near;
use replay::ReplayError;

use super::CliError;

/// Returns advice for a fault of the store.
fn advice(failure: &StorageFailure) -> Option<&'static str> {
    Some(match failure {
        StorageFailure::Busy { .. } => {
            "another process is writing; run the same command again when it is done"
        }
        StorageFailure::Full(_) => {
            "free some space (`event-replay trim` drops old events), then run the command again"
        }
        StorageFailure::Corrupt(_) => {
            "`event-replay verify` says what can be read; `event-replay restore BACKUP --replace` puts a backup in its place"
        }
        StorageFailure::Unknown(_) => {
            "run the same command again: what was stored is recognised by its id and not stored twice"
        }
        StorageFailure::TooFewCopies { .. } => {
            "see to the replicas (`event-replay health` shows them), then run the same command again: it waits for the copies \
             again, and nothing is stored twice"
        }
        StorageFailure::Unavailable(_) => {
            "check the address (`event-replay config show` says where it came from)"
        }
        StorageFailure::Foreign(_) => "name another place with --store",
        _ => return None,
    })
}

impl From<StorageFailure> for CliError {
    fn from(failure: StorageFailure) -> Self {
        let said = Self::failed(failure.to_string()).of_store(true);
        match advice(&failure) {
            Some(advice) => said.hint(advice),
            None => said,
        }
    }
}

impl From<EventStoreError> for CliError {
    fn from(error: EventStoreError) -> Self {
        match error {
            EventStoreError::Storage(failure) => failure.into(),
            EventStoreError::ForeignCursor { .. } => Self::usage(error.to_string())
                .hint("use a cursor that this store printed, or start without --after"),
            EventStoreError::LostCursor(_) => {
                Self::failed(error.to_string()).hint("start again without --after")
            }
            EventStoreError::BatchTooLarge { .. } => {
                Self::failed(error.to_string()).hint("split the input, or leave out --atomic")
            }
            other => {
                let said = Self::failed(other.to_string()).of_store(other.failure().is_some());
                match other.failure().and_then(advice) {
                    Some(advice) => said.hint(advice),
                    None => said,
                }
            }
        }
    }
}

impl From<CheckpointStoreError> for CliError {
    fn from(error: CheckpointStoreError) -> Self {
        match error {
            CheckpointStoreError::Storage(failure) => failure.into(),
            CheckpointStoreError::NameTaken(_) => Self::failed(error.to_string())
                .hint("choose another name, or move the checkpoint with --replace"),
            other => Self::failed(other.to_string()),
        }
    }
}

impl From<GroupStoreError> for CliError {
    fn from(error: GroupStoreError) -> Self {
        let said = error.to_string();
        match error {
            GroupStoreError::Storage(failure) => failure.into(),
            GroupStoreError::NoGroup(_) => Self::failed(said)
                .hint("`event-replay groups list` shows all of them, `groups create` creates one"),
            GroupStoreError::Differs { .. } => Self::failed(said)
                .hint("leave --key and --segments as they are, take another name, or delete the group first"),
            GroupStoreError::OrderCrossesPartitions { .. } => {
                Self::failed(said).hint("leave --key as it is; a store of one partition keeps any order")
            }
            GroupStoreError::BadCursor(_) => {
                Self::failed(said).hint("name another place: --at start, head, a checkpoint or a time")
            }
            _ => Self::failed(said),
        }
    }
}

impl From<ReplayStoreError> for CliError {
    fn from(error: ReplayStoreError) -> Self {
        match error {
            ReplayStoreError::Storage(failure) => failure.into(),
            other => Self::failed(other.to_string()),
        }
    }
}

/// Suggests the known names that are similar to a name, or returns other advice.
fn meant_or(name: &str, known: &[String], advice: &str) -> String {
    match near::near(name, known.iter().map(String::as_str)) {
        near if near.is_empty() => advice.to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    }
}

impl From<ReplayError> for CliError {
    fn from(error: ReplayError) -> Self {
        let said = error.to_string();
        match error {
            ReplayError::Events(error) => error.into(),
            ReplayError::Checkpoints(error) => error.into(),
            ReplayError::Replays(error) => error.into(),
            ReplayError::Groups(error) => error.into(),
            ReplayError::Storage(error) => error.into(),
            ReplayError::UnknownReplay(_) => {
                Self::failed(said).hint("`event-replay replays list` shows all of them")
            }
            ReplayError::UnknownGroup { name, known } => Self::failed(said).hint(meant_or(
                &name,
                &known,
                "`event-replay groups list` shows all of them",
            )),
            ReplayError::NoGroups => Self::failed(said)
                .hint("`event-replay groups create NAME` creates one; --target stdout needs none"),
            ReplayError::InvalidOption(_) => Self::usage(said),
            ReplayError::Everything => Self::usage(said).hint("add --all"),
            ReplayError::UnknownEvent(_) => Self::failed(said)
                .hint("`event-replay list` shows events; leave the id out to mark the newest one"),
            ReplayError::UnknownCheckpoint { name, known } => Self::failed(said).hint(meant_or(
                &name,
                &known,
                "`event-replay checkpoints list` shows all of them",
            )),
            ReplayError::CheckpointGap { .. } => Self::failed(said).hint(
                "--allow-gap replays what is left, where retention alone is the reason; nothing was replayed",
            ),
            _ => Self::failed(said),
        }
    }
}
