//! Making a bus: its settings, and what may be wrong with them.

use std::{sync::Arc, time::Duration};

use domain::ports::{
    CheckpointStoreError, Clock, EventStoreError, EventValidator, GroupStoreError, RetentionMode, Stores,
};
use stats::{Flusher, Meter};
use thiserror::Error;
use tokio::sync::RwLock;

use crate::{
    bus::Bus,
    clock::RuntimeClock,
    consumer::{BreakerSettings, LogReader},
    publisher::Publisher,
    schedule::SchedulePump,
    settings::PublishSettings,
    shared::Shared,
    start::NoValidator,
};

/// Settings of a bus.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// Whether events are checked against the schemas of their types. The envelope and the limits are checked in any case.
    pub enable_validation: bool,
    /// Whether events are kept as history; else only until every group has them ([`RetentionMode::UntilDelivered`]). It must agree
    /// with what the namespace was made for. None: whatever the namespace does.
    pub enable_event_store: Option<bool>,
    /// Whether deliveries that a group gives up on are kept as dead letters; else they are counted and dropped.
    pub enable_dead_letter_queue: bool,
    /// How often a failed delivery is tried again.
    pub max_retries: u32,
    /// The time limit of a handler.
    pub default_timeout: Duration,
    /// When a consumer stops to hand over because many deliveries fail in a row; none: never.
    pub breaker: Option<BreakerSettings>,
    /// How events are published.
    pub publish: PublishSettings,
}

impl Default for BusSettings {
    /// Everything on, 3 retries, 30 seconds.
    fn default() -> Self {
        Self {
            enable_validation: true,
            enable_event_store: None,
            enable_dead_letter_queue: true,
            max_retries: 3,
            default_timeout: Duration::from_secs(30),
            breaker: None,
            publish: PublishSettings::default(),
        }
    }
}

/// Why a bus or a subscription could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BusError {
    /// The store failed.
    #[error(transparent)]
    Events(#[from] EventStoreError),
    /// The store failed, or the group is another than the one asked for.
    #[error(transparent)]
    Group(#[from] GroupStoreError),
    /// The store failed to find a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointStoreError),
    /// There is no checkpoint of this name.
    #[error("there is no checkpoint named {0:?}")]
    NoCheckpoint(String),
    /// The namespace keeps something else than the settings say.
    #[error(
        "the namespace {namespace:?} was made to keep {kept}, and enableEventStore says otherwise; \
         this is settled when a namespace is made"
    )]
    RetentionModeDiffers {
        /// The namespace.
        namespace: String,
        /// What it keeps, for people.
        kept: &'static str,
    },
    /// Events are to be validated, and there is nothing to do it.
    #[error("validation is on, but no validator was given")]
    NoValidator,
    /// A setting makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// Makes a bus.
#[derive(Clone)]
pub struct BusBuilder {
    store: Arc<dyn Stores>,
    validator: Option<Arc<dyn EventValidator>>,
    clock: Arc<dyn Clock>,
    settings: BusSettings,
}

impl BusBuilder {
    pub(crate) fn new(store: Arc<dyn Stores>) -> Self {
        Self {
            store,
            validator: None,
            clock: Arc::new(RuntimeClock::default()),
            settings: BusSettings::default(),
        }
    }

    /// What checks events. Needed unless validation is off.
    #[must_use]
    pub fn validator(mut self, validator: Arc<dyn EventValidator>) -> Self {
        self.validator = Some(validator);
        self
    }

    /// What says what time it is: a [`RuntimeClock`] where nothing else is said. It should be the store's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// All settings at once.
    #[must_use]
    pub fn settings(mut self, settings: BusSettings) -> Self {
        self.settings = settings;
        self
    }

    /// See [`BusSettings::enable_validation`].
    #[must_use]
    pub fn enable_validation(mut self, enable: bool) -> Self {
        self.settings.enable_validation = enable;
        self
    }

    /// See [`BusSettings::enable_event_store`].
    #[must_use]
    pub fn enable_event_store(mut self, enable: bool) -> Self {
        self.settings.enable_event_store = Some(enable);
        self
    }

    /// See [`BusSettings::enable_dead_letter_queue`].
    #[must_use]
    pub fn enable_dead_letter_queue(mut self, enable: bool) -> Self {
        self.settings.enable_dead_letter_queue = enable;
        self
    }

    /// See [`BusSettings::max_retries`].
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.settings.max_retries = retries;
        self
    }

    /// See [`BusSettings::default_timeout`].
    #[must_use]
    pub fn default_timeout(mut self, timeout: Duration) -> Self {
        self.settings.default_timeout = timeout;
        self
    }

    /// Makes the bus, on the runtime it is called on.
    ///
    /// # Errors
    /// When the settings contradict each other or the namespace, or the store cannot be read.
    pub async fn build(self) -> Result<Bus, BusError> {
        let Self { store, validator, clock, mut settings } = self;
        let info = store.info().await?;
        let keeps_history = info.keeps == RetentionMode::History;
        if settings.enable_event_store.is_some_and(|enabled| enabled != keeps_history) {
            let kept = if keeps_history { "history" } else { "events only until they are delivered" };
            return Err(BusError::RetentionModeDiffers { namespace: info.namespace, kept });
        }
        if settings.default_timeout.is_zero() {
            return Err(BusError::Invalid("the time limit of handlers must be more than nothing".to_owned()));
        }
        settings.publish.validation = settings.enable_validation;
        let validator = match (validator, settings.enable_validation) {
            (Some(validator), _) => validator,
            (None, false) => Arc::new(NoValidator) as Arc<dyn EventValidator>,
            (None, true) => return Err(BusError::NoValidator),
        };
        let meter = Meter::new(Arc::clone(&clock));
        let publisher =
            Publisher::new(store.clone(), validator, Arc::clone(&clock), settings.publish.clone())
                .with_schedule(store.clone())
                .with_meter(meter.clone());
        let shared = Arc::new(Shared {
            log: Arc::new(LogReader::new(store.clone())),
            isolation: Arc::new(RwLock::new(())),
            meter: meter.clone(),
            clock: Arc::clone(&clock),
            store: store.clone(),
        });
        let pump = SchedulePump::spawn(store.clone(), clock, Some(meter.clone()));
        let flusher = Flusher::spawn(meter, store);
        Ok(Bus::new(shared, publisher, settings, pump, flusher))
    }
}
