//! The builder of a bus, its settings and its errors.

use std::{sync::Arc, time::Duration};

use domain::{
    Upcasters,
    ports::{
        CheckpointStoreError, Clock, EventStoreError, EventUpcaster, EventValidator, GroupStoreError,
        RetentionMode, Stores,
    },
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
    /// Whether the bus checks events against the schemas of their types. It always checks the envelope and the limits.
    pub enable_validation: bool,
    /// Whether the namespace keeps events as history. Otherwise it keeps an event only until every group has handled it
    /// ([`RetentionMode::UntilDelivered`]). The value must agree with the retention mode of the namespace. `None`
    /// accepts either mode.
    pub enable_event_store: Option<bool>,
    /// Whether a delivery that a group gives up on is kept as a dead letter. Otherwise it is counted and dropped.
    pub enable_dead_letter_queue: bool,
    /// The number of retries of a failed delivery.
    pub max_retries: u32,
    /// The time limit of a handler call.
    pub default_timeout: Duration,
    /// The circuit breaker that stops deliveries after many failures in a row. `None` means no circuit breaker.
    pub breaker: Option<BreakerSettings>,
    /// Settings of the publisher.
    pub publish: PublishSettings,
}

impl Default for BusSettings {
    /// Returns all features on, 3 retries and a time limit of 30 seconds.
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

/// The reason why a bus or a subscription could not be created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BusError {
    /// The store failed.
    #[error(transparent)]
    Events(#[from] EventStoreError),
    /// The store failed, or the group exists with other settings.
    #[error(transparent)]
    Group(#[from] GroupStoreError),
    /// The store failed while it looked up a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointStoreError),
    /// No checkpoint has this name or id.
    #[error("there is no checkpoint named {0:?}")]
    NoCheckpoint(String),
    /// The retention mode of the namespace differs from the settings.
    #[error(
        "the namespace {namespace:?} was made to keep {kept}, and enableEventStore says otherwise; \
         this is settled when a namespace is made"
    )]
    RetentionModeDiffers {
        /// The namespace.
        namespace: String,
        /// A description of the namespace's retention mode, for people.
        kept: &'static str,
    },
    /// Validation is on, but the builder has no validator.
    #[error("validation is on, but no validator was given")]
    NoValidator,
    /// A setting is invalid.
    #[error("{0}")]
    Invalid(String),
}

/// Builds a bus.
#[derive(Clone)]
pub struct BusBuilder {
    store: Arc<dyn Stores>,
    validator: Option<Arc<dyn EventValidator>>,
    upcaster: Arc<dyn EventUpcaster>,
    clock: Arc<dyn Clock>,
    settings: BusSettings,
}

impl BusBuilder {
    pub(crate) fn new(store: Arc<dyn Stores>) -> Self {
        Self {
            store,
            validator: None,
            upcaster: Arc::new(Upcasters::default()),
            clock: Arc::new(RuntimeClock::default()),
            settings: BusSettings::default(),
        }
    }

    /// Sets the validator of events. It is required unless validation is off.
    #[must_use]
    pub fn validator(mut self, validator: Arc<dyn EventValidator>) -> Self {
        self.validator = Some(validator);
        self
    }

    /// Sets the upcaster that each event passes before a handler gets it, such as [`Upcasters`]. The stored event stays
    /// as it is. A delivery whose event cannot be upcast becomes a dead letter at once.
    #[must_use]
    pub fn upcaster(mut self, upcaster: Arc<dyn EventUpcaster>) -> Self {
        self.upcaster = upcaster;
        self
    }

    /// Sets the clock. The default is a [`RuntimeClock`]. It should be the clock of the store.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets all settings.
    #[must_use]
    pub fn settings(mut self, settings: BusSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets [`BusSettings::enable_validation`].
    #[must_use]
    pub fn enable_validation(mut self, enable: bool) -> Self {
        self.settings.enable_validation = enable;
        self
    }

    /// Sets [`BusSettings::enable_event_store`].
    #[must_use]
    pub fn enable_event_store(mut self, enable: bool) -> Self {
        self.settings.enable_event_store = Some(enable);
        self
    }

    /// Sets [`BusSettings::enable_dead_letter_queue`].
    #[must_use]
    pub fn enable_dead_letter_queue(mut self, enable: bool) -> Self {
        self.settings.enable_dead_letter_queue = enable;
        self
    }

    /// Sets [`BusSettings::max_retries`].
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.settings.max_retries = retries;
        self
    }

    /// Sets [`BusSettings::default_timeout`].
    #[must_use]
    pub fn default_timeout(mut self, timeout: Duration) -> Self {
        self.settings.default_timeout = timeout;
        self
    }

    /// Builds the bus on the current tokio runtime.
    ///
    /// # Errors
    /// Returns a [`BusError`] when a setting is invalid or contradicts the namespace, when validation is on without a
    /// validator, or when the store cannot be read.
    pub async fn build(self) -> Result<Bus, BusError> {
        let Self { store, validator, upcaster, clock, mut settings } = self;
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
            upcaster,
            clock: Arc::clone(&clock),
            store: store.clone(),
        });
        let pump = SchedulePump::spawn(store.clone(), clock, Some(meter.clone()));
        let flusher = Flusher::spawn(meter, store);
        Ok(Bus::new(shared, publisher, settings, pump, flusher))
    }
}
