//! Publishing: the admission of events and their delivery options.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use bus::{PublishOptions, PublishSettings, Publisher, UnknownTypes};
use domain::{Event, Priority, StoredEvent, time::checked_later};
use jiff::Timestamp;
use stats::Meter;

use super::{
    error::AppError,
    schemas,
    store::{clock, open_store, store_exists},
};
use crate::{
    handle::StoreHandle,
    options::Access,
    settings::{Settings, StoreLocation},
};

/// Scheduled events per append.
const DUE: usize = 256;

/// Options for the admission of events, beside the settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublishRequest {
    /// The treatment of event types without a schema. `None`: as in the settings.
    pub unknown_types: Option<UnknownTypes>,
    /// Whether only the envelope and the limits are checked, without the schemas.
    pub no_validation: bool,
}

/// Returns a publisher to a store. First it appends the due events of the schedule. They precede new events, and there
/// may be no other process that appends them.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn publisher(
    store: &StoreHandle,
    settings: &Settings,
    request: PublishRequest,
    meter: Meter,
) -> Result<Publisher, AppError> {
    let validator = Arc::new(schemas::registry(store, settings.engine).await?);
    let publish_settings = publish_settings(settings, request);
    let publisher = Publisher::new(store.ports().clone(), validator, clock(), publish_settings)
        .with_schedule(store.ports().clone())
        .with_meter(meter);
    while !store.append_due(DUE).await?.is_empty() {}
    Ok(publisher)
}

fn publish_settings(settings: &Settings, request: PublishRequest) -> PublishSettings {
    PublishSettings {
        limits: settings.limits.clone(),
        validation: settings.validation && !request.no_validation,
        unknown_types: request.unknown_types.unwrap_or(settings.unknown_types),
        ordering: settings.ordering.clone(),
        ..PublishSettings::default()
    }
}

/// The outcome that a publication of an event would have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rehearsed {
    /// The event would be stored.
    Stored,
    /// The same content is stored, or occurs earlier in the input.
    AlreadyStored,
    /// Other content is stored under the id, or occurs earlier in the input. The sentence states the place.
    Conflict(String),
}

/// A dry run of publishing. It stores nothing.
pub struct Rehearsal {
    publisher: Publisher,
    store: Option<StoreHandle>,
    /// The hash of each content so far, by the hash of its id. The events of a long input are not kept in memory.
    seen: HashMap<u64, u64>,
}

impl Rehearsal {
    /// Starts a dry run. It uses the schemas of the store in the settings, if the store exists. `compares` states
    /// whether it also compares with stored events.
    ///
    /// # Errors
    /// Returns [`AppError`] when the store exists and cannot be read.
    pub async fn new(settings: &Settings, request: PublishRequest, compares: bool) -> Result<Self, AppError> {
        let exists = store_exists(settings).await?;
        let store = if exists { Some(open_store(settings, Access::Read).await?) } else { None };
        let records = match &store {
            Some(store) => store.list_schemas().await?,
            None => Vec::new(),
        };
        // A publisher needs a store. Nothing is appended to this one.
        let nowhere =
            open_store(&settings.for_store(StoreLocation::in_memory("--dry-run")), Access::Create).await?;
        let validator = Arc::new(schemas::registry_of(&records, settings.engine));
        let publisher =
            Publisher::new(nowhere.ports().clone(), validator, clock(), publish_settings(settings, request));
        Ok(Self { publisher, store: store.filter(|_| compares), seen: HashMap::new() })
    }

    /// Returns the publisher, for its rules.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Returns the outcomes for admitted events, in their order.
    ///
    /// # Errors
    /// Returns [`AppError`] when the store fails.
    pub async fn outcomes(&mut self, events: &[Event]) -> Result<Vec<Rehearsed>, AppError> {
        let ids: Vec<String> = events.iter().map(|event| event.id().to_owned()).collect();
        let stored = match &self.store {
            Some(store) => store.get(&ids).await?,
            None => Vec::new(),
        };
        let by_id: HashMap<&str, &StoredEvent> =
            stored.iter().map(|stored| (stored.event.id(), stored)).collect();
        Ok(events.iter().map(|event| self.outcome(event, by_id.get(event.id()).copied())).collect())
    }

    fn outcome(&mut self, event: &Event, stored: Option<&StoredEvent>) -> Rehearsed {
        let content = hash(event.json());
        let before = self.seen.insert(hash(event.id()), content);
        match (stored, before) {
            (Some(stored), _) if stored.event.same_content(event) => Rehearsed::AlreadyStored,
            (Some(stored), _) => {
                Rehearsed::Conflict(format!("other content is stored under this id, at {}", stored.position))
            }
            (None, Some(before)) if before == content => Rehearsed::AlreadyStored,
            (None, Some(_)) => {
                Rehearsed::Conflict("the input has other bytes under this id before".to_owned())
            }
            (None, None) => Rehearsed::Stored,
        }
    }

    /// Closes the store.
    pub async fn close(self) {
        if let Some(store) = self.store {
            store.close().await;
        }
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The delivery options of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryRequest {
    /// The delay before the append to the log.
    pub delay: Option<std::time::Duration>,
    /// The priority among the events that a consumer has fetched.
    pub priority: Priority,
    /// The time after which the events expire.
    pub expires_in: Option<std::time::Duration>,
    /// The instant at which the events expire.
    pub expires_at: Option<Timestamp>,
    /// The number of retries of a failed delivery.
    pub retries: Option<u16>,
}

impl DeliveryRequest {
    /// Returns the options for a publisher. Returns `None` if no option is set.
    ///
    /// # Errors
    /// Returns [`BeyondTime`] when the expiry exceeds the last instant that can be represented.
    pub fn options(&self) -> Result<Option<PublishOptions>, BeyondTime> {
        let expires_at = match self.expires_in {
            None => self.expires_at,
            Some(time) => Some(checked_later(clock().now(), time).ok_or(BeyondTime)?),
        };
        let Self { priority, delay, retries, .. } = *self;
        let options = PublishOptions { priority, delay, expires_at, retries, ..PublishOptions::default() };
        Ok((options != PublishOptions::default()).then_some(options))
    }
}

/// The expiry of the events exceeds the last instant that can be represented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time after which events expire goes beyond the end of time")]
pub struct BeyondTime;
