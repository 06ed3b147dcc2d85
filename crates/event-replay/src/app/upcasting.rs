//! The upcasters of the settings.

use std::sync::Arc;

use domain::ports::EventUpcaster;

use super::{error::AppError, store::StoreError};
use crate::settings::Settings;

/// Reads the upcasters of the settings.
///
/// # Errors
/// Returns [`AppError`] when the upcasters cannot be used.
pub fn upcasters(settings: &Settings) -> Result<Arc<dyn EventUpcaster>, AppError> {
    Ok(settings.upcasters.load().map_err(StoreError::from)?)
}
