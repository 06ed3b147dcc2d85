//! Makes replays into consumer groups, and manages replays: list, find, pause, resume, cancel, delete.

use std::{collections::BTreeSet, sync::Arc};

use domain::{
    group::{GroupRecord, MAX_LANE_REFERENCES},
    ports::{GroupStore, ReplayCommand, ReplayRecord, ReplayState},
};
use uuid::Uuid;

use crate::{
    backoff::repeated,
    error::ReplayError,
    manager::{ReplayManager, check_everything},
    pace::Pace,
    plan::Plan,
    record::{Destination, JobProgress, ReplaySummary, TargetGroup, WrittenPlan, written},
    redrive::without_consumers,
    steering::{FailureLimit, Steering},
};

/// The groups that a replay goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupChoice {
    /// The groups with these names, at least one.
    Named(BTreeSet<String>),
    /// Every existing group, including groups that send mail or money.
    All,
}

impl GroupChoice {
    /// Chooses the groups with these names.
    pub fn named<G: Into<String>>(groups: impl IntoIterator<Item = G>) -> Self {
        Self::Named(groups.into_iter().map(Into::into).collect())
    }
}

/// The options of a replay into consumer groups. There is no default, because a replay into the wrong groups cannot be
/// undone.
/// ```
/// use event_replay_replay::{GroupReplayOptions, Pace};
/// let options = GroupReplayOptions { pace: Pace::Rate(100.0), ..GroupReplayOptions::to(["search-index"]) };
/// assert!(options.check().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GroupReplayOptions {
    /// The groups that the replay goes to.
    pub groups: GroupChoice,
    /// The number of events in one batch for the lanes, 1 to [`MAX_LANE_REFERENCES`].
    pub batch_size: usize,
    /// The speed at which events enter the lanes. Each group then takes them at the speed of its handlers.
    pub pace: Pace,
    /// Permits a replay of everything: without a filter, from the start of the log.
    pub all: bool,
    /// The events of its first stages, each at least 1. The replay pauses after each stage until it is resumed; the last stage has
    /// all other events. Empty: one stage.
    pub ramp: Vec<u64>,
    /// The number of failed events at which it pauses. Events that are with the groups at that moment are still handled.
    pub failure_limit: Option<FailureLimit>,
}

impl GroupReplayOptions {
    /// Selects the groups with these names, with batches of 50 events and one second between batches.
    pub fn to<G: Into<String>>(groups: impl IntoIterator<Item = G>) -> Self {
        Self::of(GroupChoice::named(groups))
    }

    /// Selects every existing group, with batches of 50 events and one second between batches.
    pub fn to_all_groups() -> Self {
        Self::of(GroupChoice::All)
    }

    /// A replay into these groups: 50 events at once, a second apart.
    pub fn of(groups: GroupChoice) -> Self {
        let (ramp, failure_limit) = (Vec::new(), None);
        Self { groups, batch_size: 50, pace: Pace::default(), all: false, ramp, failure_limit }
    }

    /// Checks the options.
    ///
    /// # Errors
    /// Returns [`ReplayError::InvalidOption`] when no group is named, when the batch size is out of bounds, or when the
    /// pace is invalid.
    pub fn check(&self) -> Result<(), ReplayError> {
        if matches!(&self.groups, GroupChoice::Named(names) if names.is_empty()) {
            let unnamed = "name the groups that the replay goes to; GroupChoice::All is every group";
            return Err(ReplayError::InvalidOption(unnamed.to_owned()));
        }
        if !(1..=MAX_LANE_REFERENCES).contains(&self.batch_size) {
            let bounds = format!("a batch has 1 to {MAX_LANE_REFERENCES} events");
            return Err(ReplayError::InvalidOption(bounds));
        }
        if self.ramp.contains(&0) {
            let empty = "a stage of a ramp has at least 1 event";
            return Err(ReplayError::InvalidOption(empty.to_owned()));
        }
        self.failure_limit.as_ref().map_or(Ok(()), FailureLimit::check)?;
        self.pace.check()
    }
}

impl ReplayManager {
    pub(crate) fn groups(&self) -> Result<&Arc<dyn GroupStore>, ReplayError> {
        let missing = || ReplayError::InvalidOption("this program keeps no consumer groups".to_owned());
        self.groups.as_ref().ok_or_else(missing)
    }

    /// Makes a replay of a plan into consumer groups. The store holds the replay, which waits for a runner: see
    /// [`JobRunner`](crate::JobRunner) and [`JobHost`](crate::JobHost). From now on retention keeps every event of the
    /// plan.
    ///
    /// # Errors
    /// Returns an error when the options are invalid, or when the plan covers everything and the options do not permit
    /// that. Returns an error when a group is unknown, when there is no group, or when the store fails.
    pub async fn start_group_replay(
        &self,
        plan: &Plan,
        options: &GroupReplayOptions,
    ) -> Result<ReplayRecord, ReplayError> {
        options.check()?;
        if plan.after.is_none() {
            check_everything(&plan.filter, options.all)?;
        }
        let groups = self.groups()?;
        let existing = repeated(|| groups.groups()).await?;
        let to = Destination::Groups(chosen(existing, &options.groups)?);
        let mut plan = WrittenPlan::new(plan, to, options.batch_size, options.pace)?;
        (plan.ramp, plan.failure_limit) = (options.ramp.clone(), options.failure_limit);
        let record = self.new_record(&plan, ReplayState::Planned)?;
        self.replays().create_replay(&record).await?;
        Ok(record)
    }

    pub(crate) fn new_record(
        &self,
        plan: &WrittenPlan,
        state: ReplayState,
    ) -> Result<ReplayRecord, ReplayError> {
        let id = Uuid::now_v7().to_string();
        let (now, progress) = (self.clock().now(), JobProgress::new(plan, &id));
        Ok(ReplayRecord {
            plan: written(plan)?,
            progress: written(&progress)?,
            steering: None,
            hold: Some(plan.start()),
            id,
            state,
            created_at: now,
            updated_at: now,
        })
    }

    /// Returns the newest replays, newest first.
    ///
    /// # Errors
    /// Returns an error when the store fails, or when a record cannot be read.
    pub async fn list_replays(&self, limit: usize) -> Result<Vec<ReplaySummary>, ReplayError> {
        let records = repeated(|| self.replays().list_replays(limit)).await?;
        records.iter().map(ReplaySummary::of).collect()
    }

    /// Returns a replay.
    ///
    /// # Errors
    /// Returns [`ReplayError::UnknownReplay`] when the replay does not exist. Returns an error when the store fails or
    /// the record cannot be read.
    pub async fn find_replay(&self, id: &str) -> Result<ReplaySummary, ReplayError> {
        ReplaySummary::of(&self.record(id).await?)
    }

    pub(crate) async fn record(&self, id: &str) -> Result<ReplayRecord, ReplayError> {
        let record = repeated(|| self.replays().find_replay(id)).await?;
        record.ok_or_else(|| ReplayError::UnknownReplay(id.to_owned()))
    }

    /// Requests a pause, a resumption or a cancellation of a replay, and returns its state. Its runner obeys within the
    /// current batch. A cancelled replay without a runner is finished at once, and its undelivered events leave the
    /// lanes.
    ///
    /// # Errors
    /// Returns [`ReplayError::UnknownReplay`] when the replay does not exist, or an error when the store fails.
    pub async fn request(&self, id: &str, command: ReplayCommand) -> Result<ReplayState, ReplayError> {
        let state = repeated(|| self.replays().request(id, command)).await?;
        let state = state.ok_or_else(|| ReplayError::UnknownReplay(id.to_owned()))?;
        if state == ReplayState::Cancelled
            && let Some(groups) = &self.groups
        {
            repeated(|| groups.withdraw(id)).await?;
        }
        Ok(state)
    }

    /// Changes the pace of a replay that is not over, and returns its state. The process that runs it takes the new pace within a
    /// second.
    ///
    /// # Errors
    /// [`ReplayError::UnknownReplay`], or when the pace makes no sense or the store fails.
    pub async fn set_pace(&self, id: &str, pace: Pace) -> Result<ReplayState, ReplayError> {
        pace.check()?;
        let steering = written(&Steering { pace })?;
        let state = repeated(|| self.replays().steer(id, &steering)).await?;
        state.ok_or_else(|| ReplayError::UnknownReplay(id.to_owned()))
    }

    /// Deletes the record of a finished replay. Returns whether there was such a record.
    ///
    /// # Errors
    /// Returns an error when the store fails.
    pub async fn delete_replay(&self, id: &str) -> Result<bool, ReplayError> {
        Ok(repeated(|| self.replays().delete_replay(id)).await?)
    }

    /// Returns the groups of a replay that have no consumer. The replay waits until each has one.
    ///
    /// # Errors
    /// As [`ReplayManager::find_replay`].
    pub async fn groups_without_consumers(&self, id: &str) -> Result<Vec<String>, ReplayError> {
        let names = self.find_replay(id).await?.groups;
        without_consumers(&**self.groups()?, names.iter().map(String::as_str)).await
    }
}

/// Returns the groups of a choice.
fn chosen(existing: Vec<GroupRecord>, choice: &GroupChoice) -> Result<Vec<TargetGroup>, ReplayError> {
    let names = match choice {
        GroupChoice::All if existing.is_empty() => return Err(ReplayError::NoGroups),
        GroupChoice::All => return Ok(existing.into_iter().map(TargetGroup::from).collect()),
        GroupChoice::Named(names) => names,
    };
    for name in names {
        if !existing.iter().any(|group| group.spec.name == *name) {
            let known = existing.into_iter().map(|group| group.spec.name).collect();
            return Err(ReplayError::UnknownGroup { name: name.clone(), known });
        }
    }
    let is_named = |group: &GroupRecord| names.contains(&group.spec.name);
    Ok(existing.into_iter().filter(is_named).map(TargetGroup::from).collect())
}
