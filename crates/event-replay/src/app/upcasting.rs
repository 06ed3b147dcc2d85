//! Upcasting of the events that operators look at.

use std::{borrow::Cow, sync::Arc};

use domain::{StoredEvent, UpcastError, ports::EventUpcaster};

use super::{error::AppError, store::StoreError};
use crate::settings::Settings;

/// Reads the upcasters of the settings.
///
/// # Errors
/// Returns [`AppError`] when the upcasters cannot be used.
pub fn upcasters(settings: &Settings) -> Result<Arc<dyn EventUpcaster>, AppError> {
    Ok(settings.upcasters.load().map_err(StoreError::from)?)
}

/// Returns an event as a consumer gets it.
///
/// # Errors
/// Returns [`UpcastError`] when an upcaster fails.
pub(super) fn upcast<'e>(
    upcaster: &dyn EventUpcaster,
    stored: &'e StoredEvent,
) -> Result<Cow<'e, StoredEvent>, UpcastError> {
    if upcaster.target(stored.event.event_type(), stored.event.version()).is_none() {
        return Ok(Cow::Borrowed(stored));
    }
    let event = upcaster.upcast(&stored.event)?;
    Ok(Cow::Owned(StoredEvent { event, ..stored.clone() }))
}
