//! Publishing: what is let in, and how it is to be delivered.

use std::sync::Arc;

use bus::{PublishOptions, PublishSettings, Publisher, UnknownTypes};
use domain::{Priority, time::checked_later};
use jiff::Timestamp;
use stats::Meter;

use super::{error::AppError, schemas, store::clock};
use crate::{handle::StoreHandle, settings::Settings};

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
    let publish_settings = PublishSettings {
        limits: settings.limits.clone(),
        validation: settings.validation && !request.no_validation,
        unknown_types: request.unknown_types.unwrap_or(settings.unknown_types),
        ordering: settings.ordering.clone(),
        ..PublishSettings::default()
    };
    let validator = Arc::new(schemas::registry(store, settings.engine).await?);
    let publisher = Publisher::new(store.ports().clone(), validator, clock(), publish_settings)
        .with_schedule(store.ports().clone())
        .with_meter(meter);
    while !store.append_due(DUE).await?.is_empty() {}
    Ok(publisher)
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
        let options = PublishOptions { priority, delay, expires_at, retries };
        Ok((options != PublishOptions::default()).then_some(options))
    }
}

/// Events expire after the last instant that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time after which events expire goes beyond the end of time")]
pub struct BeyondTime;
