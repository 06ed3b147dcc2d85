//! Preparation of a consumer: the bus, the settings of its group, and the tasks that run beside it.

use std::{collections::BTreeSet, sync::Arc};

use ::replay::ReplayManager;
use bus::{Bus, BusError, BusSettings, StartAt};
use domain::{
    group::{DEFAULT_SEGMENTS, GroupKey},
    ports::EventUpcaster,
};

use super::{
    error::{AppError, Conflict, InvalidRequest},
    near::near,
    position::mark_at,
    replay,
    store::clock,
};
use crate::{handle::StoreHandle, settings::Settings};

/// The settings of a group that a consumer joins. They create a new group. For an existing group, an unset member keeps
/// its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinRequest {
    /// The name of the group.
    pub group: String,
    /// The event types. Empty: the types of an existing group, or all types for a new group. For an existing group the
    /// types must be equal to its own. Other types would change the events that every consumer of the group gets, and
    /// the group would skip events.
    pub types: Vec<String>,
    /// The start position of a new group: see [`mark_at`].
    pub at: Option<String>,
    /// The ordering key.
    pub key: Option<GroupKey>,
    /// The number of segments.
    pub segments: Option<u16>,
    /// Whether a new group may be created beside other groups. The first group of a store needs no permission.
    pub create: bool,
}

/// The settings of the group after the consumer joins.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The event types. Empty: all.
    pub types: Vec<String>,
    /// The ordering key.
    pub key: GroupKey,
    /// The number of segments.
    pub segments: u16,
    /// The start position of a new group.
    pub start: StartAt,
    /// Whether the group is new.
    pub is_new: bool,
}

impl JoinRequest {
    /// Reads the group and returns its settings. A consumer that joins an existing group cannot change the group by
    /// accident.
    ///
    /// # Errors
    /// Returns [`AppError`] when the group does not exist, other groups exist, and `create` is not set. Also returns it
    /// when the group has other types, when the start position is unknown, or when the store fails.
    pub async fn resolve(&self, store: &StoreHandle) -> Result<Joining, AppError> {
        let existing = store.group(&self.group).await?.map(|status| status.record.spec);
        if existing.is_none() && !self.create {
            self.check_name(store).await?;
        }
        let start = match existing {
            None => StartAt::Mark(mark_at(store, self.at.as_deref().unwrap_or("head")).await?),
            Some(_) => StartAt::Head,
        };
        let is_new = existing.is_none();
        let types = match &existing {
            None => self.types.clone(),
            Some(spec) => {
                let has: Vec<String> = spec.types.iter().map(|pattern| pattern.as_str().to_owned()).collect();
                if !self.types.is_empty() && taken(&self.types) != taken(&has) {
                    let (group, asked) = (self.group.clone(), self.types.clone());
                    return Err(Conflict::GroupTypesDiffer { group, has, asked }.into());
                }
                has
            }
        };
        let key = self.key.clone().or(existing.as_ref().map(|spec| spec.key.clone())).unwrap_or_default();
        let segments = self.segments.or(existing.map(|spec| spec.segments)).unwrap_or(DEFAULT_SEGMENTS);
        Ok(Joining { types, key, segments, start, is_new })
    }

    /// Returns an error for a new name beside other groups, because the name may be misspelt.
    async fn check_name(&self, store: &StoreHandle) -> Result<(), AppError> {
        let known: Vec<String> = store.groups().await?.into_iter().map(|record| record.spec.name).collect();
        // Another consumer may have created the group since the first read.
        if known.is_empty() || known.contains(&self.group) {
            return Ok(());
        }
        let near = near(&self.group, known.iter().map(String::as_str));
        Err(InvalidRequest::GroupNotToBeMade { group: self.group.clone(), near, known }.into())
    }
}

/// Returns the types as a set. An empty set means all types.
fn taken(types: &[String]) -> BTreeSet<&str> {
    match types.iter().any(|pattern| pattern == "*") {
        true => BTreeSet::new(),
        false => types.iter().map(String::as_str).collect(),
    }
}

/// Returns a bus for consumers, by the settings. It publishes only due events of the schedule, which were validated
/// when they were scheduled. The upcaster is that of the [settings](Settings::upcasters).
///
/// # Errors
/// Returns [`BusError`] when the store fails.
pub async fn bus(
    store: &StoreHandle,
    settings: &Settings,
    upcaster: Arc<dyn EventUpcaster>,
) -> Result<Bus, BusError> {
    let settings = BusSettings {
        enable_validation: false,
        enable_dead_letter_queue: settings.dead_letters,
        max_retries: settings.max_retries,
        default_timeout: settings.handler_timeout,
        breaker: settings.breaker,
        ..BusSettings::default()
    };
    Bus::builder(store.ports().clone()).upcaster(upcaster).clock(clock()).settings(settings).build().await
}

/// Returns the manager that runs waiting replays and applies retention while the consumer lives.
pub fn manager(store: &StoreHandle, settings: &Settings, bus: &Bus) -> ReplayManager {
    replay::manager(store).with_meter(bus.meter().clone()).with_group_holds(settings.holds)
}
