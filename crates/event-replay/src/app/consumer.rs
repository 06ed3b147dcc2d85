//! Running a consumer of a group: the bus, what the group is or is to be, and what else runs beside it.

use std::collections::BTreeSet;

use ::replay::ReplayManager;
use bus::{Bus, BusError, BusSettings, StartAt};
use domain::group::{DEFAULT_SEGMENTS, GroupKey};

use super::{
    error::{AppError, Conflict, InvalidRequest},
    near::near,
    position::mark_at,
    replay,
    store::clock,
};
use crate::{handle::StoreHandle, settings::Settings};

/// What a group is to be, should it be new. What is not said stays as it is in a group that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JoinRequest {
    /// The group.
    pub group: String,
    /// The types it takes; none: those it has, all for a new one. A group that exists must take these: a consumer that came with
    /// others would change what every consumer of the group gets, and pass what it does not take.
    pub types: Vec<String>,
    /// Where it begins: see [`mark_at`].
    pub at: Option<String>,
    /// The key of its order.
    pub key: Option<GroupKey>,
    /// Into how many parts its keys are spread.
    pub segments: Option<u16>,
    /// Whether a group may be made beside others. Where a store has no group, the first is made without it.
    pub create: bool,
}

/// What a group is from now on.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The types it takes.
    pub types: Vec<String>,
    /// The key of its order.
    pub key: GroupKey,
    /// Into how many parts its keys are spread.
    pub segments: u16,
    /// Where it begins, should it be new.
    pub start: StartAt,
    /// Whether it is new.
    pub is_new: bool,
}

impl JoinRequest {
    /// Looks at the group: joining one that exists changes nothing by accident.
    ///
    /// # Errors
    /// When the group is not there, others are and it may not be made; when it takes other types, the place where it is to begin is unknown, or the store fails.
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

    /// Refuses a name beside others: it may be misspelt.
    async fn check_name(&self, store: &StoreHandle) -> Result<(), AppError> {
        let known: Vec<String> = store.groups().await?.into_iter().map(|record| record.spec.name).collect();
        // Another consumer may have made the group since it was looked for.
        if known.is_empty() || known.contains(&self.group) {
            return Ok(());
        }
        let near = near(&self.group, known.iter().map(String::as_str));
        Err(InvalidRequest::GroupNotToBeMade { group: self.group.clone(), near, known }.into())
    }
}

/// The types that patterns name; none: all.
fn taken(types: &[String]) -> BTreeSet<&str> {
    match types.iter().any(|pattern| pattern == "*") {
        true => BTreeSet::new(),
        false => types.iter().map(String::as_str).collect(),
    }
}

/// A bus for consumers, as the settings say. It publishes nothing but what waits in the schedule, which was checked when it was
/// published.
///
/// # Errors
/// When the store fails.
pub async fn bus(store: &StoreHandle, settings: &Settings) -> Result<Bus, BusError> {
    let settings = BusSettings {
        enable_validation: false,
        enable_dead_letter_queue: settings.dead_letters,
        max_retries: settings.max_retries,
        default_timeout: settings.handler_timeout,
        breaker: settings.breaker,
        ..BusSettings::default()
    };
    Bus::builder(store.ports().clone()).clock(clock()).settings(settings).build().await
}

/// What runs replays that wait for a runner, and applies retention, as long as the consumer lives.
pub fn manager(store: &StoreHandle, settings: &Settings, bus: &Bus) -> ReplayManager {
    replay::manager(store).with_meter(bus.meter().clone()).with_group_holds(settings.holds)
}
