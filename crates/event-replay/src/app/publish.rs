//! Publishing: what is let in, and how it is to be delivered.

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

/// Events of the schedule that are appended in one step.
const DUE: usize = 256;

/// What is let in, beside what the settings say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublishRequest {
    /// What becomes of types without a schema; none: what the settings say.
    pub unknown_types: Option<UnknownTypes>,
    /// Whether the envelope and the limits alone are checked, not the schemas.
    pub no_validation: bool,
}

/// A publisher to a store. What waits in its schedule and is due is appended first: it comes before what comes now, and no
/// other process may run that appends it.
///
/// # Errors
/// When the store fails.
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

/// What would become of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rehearsed {
    /// It would be stored.
    Stored,
    /// Its same content is stored, or comes earlier in the input.
    AlreadyStored,
    /// Other content is stored under its id, or comes earlier in the input; the sentence says where.
    Conflict(String),
}

/// Says what publishing would do, and stores nothing.
pub struct Rehearsal {
    publisher: Publisher,
    store: Option<StoreHandle>,
    /// Hashes of the contents that came so far, by hashes of their ids: of a long input the events are not kept.
    seen: HashMap<u64, u64>,
}

impl Rehearsal {
    /// A rehearsal. It knows the schemas of the store that the settings name, if there is one; `compares` says whether it also
    /// looks up what is stored.
    ///
    /// # Errors
    /// When a store is there and cannot be read.
    pub async fn new(settings: &Settings, request: PublishRequest, compares: bool) -> Result<Self, AppError> {
        let exists = store_exists(settings).await?;
        let store = if exists { Some(open_store(settings, Access::Read).await?) } else { None };
        let records = match &store {
            Some(store) => store.list_schemas().await?,
            None => Vec::new(),
        };
        // A publisher wants a store; nothing is ever appended to this one.
        let nowhere =
            open_store(&settings.for_store(StoreLocation::in_memory("--dry-run")), Access::Create).await?;
        let validator = Arc::new(schemas::registry_of(&records, settings.engine));
        let publisher =
            Publisher::new(nowhere.ports().clone(), validator, clock(), publish_settings(settings, request));
        Ok(Self { publisher, store: store.filter(|_| compares), seen: HashMap::new() })
    }

    /// The publisher whose rules apply.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// What would become of events that were admitted, in their order.
    ///
    /// # Errors
    /// When the store fails.
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

/// How events are to be delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryRequest {
    /// After how much time they come into the log.
    pub delay: Option<std::time::Duration>,
    /// Among the events that a group has fetched, which goes first.
    pub priority: Priority,
    /// After how much time they are not delivered any more.
    pub expires_in: Option<std::time::Duration>,
    /// From when on they are not delivered any more.
    pub expires_at: Option<Timestamp>,
    /// How often a failed delivery is tried again.
    pub retries: Option<u16>,
}

impl DeliveryRequest {
    /// As a publisher takes them; none where nothing is asked for.
    ///
    /// # Errors
    /// With the sentence that says so, when they expire beyond the end of time.
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

/// Events expire after the last instant that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time after which events expire goes beyond the end of time")]
pub struct BeyondTime;
