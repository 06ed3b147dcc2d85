//! Advice for refused requests.

use bus::BusError;
use domain::StorageFailure;
use event_replay::{
    OpenError, SettingsError,
    app::{
        AppError, Conflict, InvalidRequest, NotFound, StoreError, backup::RestoreError, near,
        state::FoldError,
    },
};

use super::{CliError, reaching, with_causes};
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
            AppError::Fold(error) => {
                Self::failed(format!("--fold: {}", with_causes(&error))).hint(fold_advice(&error))
            }
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
            InvalidRequest::TypesWithoutBound => Self::usage("trim --type needs a limit")
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
            InvalidRequest::MomentsReversed => said.hint("--from is the earlier time, and --to is the later time"),
            InvalidRequest::BadPatch(_) => said.hint("a patch is a list of operations, as RFC 6902 says: [{\"op\":\"replace\",\"path\":\"/data/currency\",\"value\":\"EUR\"}]"),
            InvalidRequest::PatchChangesNumbers => said.hint("edit the text with $EDITOR: leave out --patch"),
            InvalidRequest::EditChangesIdentity { .. } => said.hint("publish a new event instead, and discard the dead letter"),
            InvalidRequest::GroupsWithoutConsuming => said.hint("add --role consume, or leave out --group"),
            InvalidRequest::EmptyBounds { .. } => {
                said.hint("--after-event is the earlier event and is left out; --until-event is included")
            }
            InvalidRequest::SeveralCauses { .. } => {
                said.hint("add --cause, and --type where one cause is named several times")
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
                said.hint("there are no groups yet; `event-replay groups create NAME` creates one")
            }
            NotFound::Group { name, known } => said.hint(meant_or_listed(&name, &known)),
            NotFound::AnyGroup => said.hint(
                "`event-replay consume NAME` runs a consumer and makes its group, `event-replay groups create NAME` \
                 makes a group alone, --target stdout needs none",
            ),
            NotFound::Replay { .. } => said.hint("`event-replay replays list` shows them"),
            NotFound::OneReplay { .. } => {
                said.hint("give more of the id; `event-replay replays list` shows them")
            }
            NotFound::DeadLetter { .. } => {
                said.hint("`event-replay dead-letters list --state all` shows them; closed ones go after a month")
            }
            NotFound::OneDeadLetter { .. } => {
                said.hint("give more of the id; `event-replay dead-letters list` shows them")
            }
            NotFound::Plan { .. } => said.hint("`event-replay plans list` shows them"),
            NotFound::OnePlan { .. } => said.hint("give more of the id; `event-replay plans list` shows them"),
            NotFound::Checkpoint { near, .. } if !near.is_empty() => said.hint(did_you_mean(&near)),
            NotFound::Checkpoint { .. } => said.hint("`event-replay checkpoints list` shows them"),
            NotFound::Token { near, .. } if !near.is_empty() => said.hint(did_you_mean(&near)),
            NotFound::Token { .. } => said.hint("`event-replay tokens list` shows them"),
            NotFound::Correlation { .. } => said.hint(
                "`event-replay show ID` shows one event, its correlation id included; `event-replay list` shows the newest",
            ),
            NotFound::Event { .. } => said.hint(
                "`event-replay list` shows ids and positions; a position such as 0:17 names the place of a removed event too",
            ),
            NotFound::Position { .. } => said.hint("`event-replay list` shows the positions of events"),
            NotFound::EventsOfEntity { entity, .. } => said.hint(format!(
                "`event-replay list --entity {}` shows its events of every time and type",
                escape::line(&entity)
            )),
            NotFound::Place { near, .. } if !near.is_empty() => said.during("--at").hint(did_you_mean(&near)),
            NotFound::Place { .. } => said.during("--at").hint(
                "write start, head, a checkpoint's name (`event-replay checkpoints list`), or a time: \
                 2024-01-15T10:30:00Z, 2h (ago), today 09:00",
            ),
            _ => said,
        }
    }
}

fn fold_advice(error: &FoldError) -> &'static str {
    match error {
        FoldError::Start(_) => "name a program that can be found, by its path where it is not in PATH",
        FoldError::Failed(_) => {
            "the command gets the events on its stdin, one a line, as `event-replay export` prints them"
        }
        FoldError::Upcast(_) => "correct the upcaster in the folder of the setting upcasters, then try again",
        _ => "the stdout of the command must be one JSON document; messages belong on its stderr",
    }
}

/// Suggests the known names that are similar to a name, or lists all known names.
fn meant_or_listed(name: &str, known: &[String]) -> String {
    let near = near::near(name, known.iter().map(String::as_str));
    match near.is_empty() {
        true => format!("there are: {}", escape::line(&known.join(", "))),
        false => did_you_mean(&near),
    }
}

fn did_you_mean(near: &[String]) -> String {
    format!("did you mean {}?", escape::line(&near.join(" or ")))
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
            Conflict::NeedsApproval { .. } => said.hint(
                "add --plan to keep the plan; another operator approves it with `event-replay plans approve ID`, and \
                 `event-replay replay --apply ID` sends it",
            ),
            Conflict::PlanNotApproved { id, .. } | Conflict::OwnPlan { id, .. } => {
                said.hint(format!("another operator approves it: `event-replay plans approve {id}`"))
            }
            Conflict::PlanExpired { .. } | Conflict::PlanLostEvents { .. } | Conflict::PlanGroupGone { .. } => {
                said.hint("make the plan again with `event-replay replay --plan`")
            }
            Conflict::PlanGoesElsewhere { to, .. } if to == "groups" => said.hint("leave out --target"),
            Conflict::PlanGoesElsewhere { to, .. } => {
                said.hint(format!("add the --target that the plan was made with: {}", escape::line(&to)))
            }
            Conflict::PlanInUse { id } => said.hint(format!("`event-replay plans show {id}` shows it")),
            Conflict::LetterNotOpen { id, .. } => said.hint(format!("`event-replay dead-letters show {id}` shows it")),
            Conflict::ReplayNotOver { id, .. } => {
                said.hint(format!("`event-replay replays watch {id}` waits for its end"))
            }
            Conflict::TooManyFailed { .. } => {
                said.hint("`event-replay dead-letters redrive` sends what groups gave up on; or replay the whole plan again")
            }
            Conflict::PassedUnknown { .. } => {
                said.hint("say which events instead: --until-event, --type, --from and --group")
            }
            Conflict::TokenExists { .. } => {
                said.hint("choose another name, or revoke that token with `event-replay tokens revoke`")
            }
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
            StoreError::RetentionModeDiffers { .. } => said.hint(
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
