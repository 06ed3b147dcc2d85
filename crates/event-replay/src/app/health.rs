//! Checks the store, its consumers and its replays.

mod alerts;
mod disk;
mod groups;
mod retention;
mod store;

use serde::Serialize;

use super::{error::AppError, store::open_store};
pub use crate::check::{Check, Status};
use crate::{adapters, handle::StoreHandle, location::Location, options::Access, settings::Settings};

/// The health of the store, its groups and its publishers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Health {
    /// The health, as one word.
    pub status: Condition,
    /// The results of the checks.
    pub checks: Vec<Check>,
}

/// The health of the store, as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// All checks pass.
    Healthy,
    /// A check warns, and no check fails.
    Degraded,
    /// A check fails.
    Unhealthy,
}

impl Condition {
    /// Returns the word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Health {
    fn of(checks: Vec<Check>) -> Self {
        let has = |status| checks.iter().any(|check| check.status == status);
        let status = match (has(Status::Fail), has(Status::Warn)) {
            (true, _) => Condition::Unhealthy,
            (false, true) => Condition::Degraded,
            (false, false) => Condition::Healthy,
        };
        Self { status, checks }
    }
}

/// Checks the store, its groups and the alerts. If the checks cannot run, `explain` turns the error into the message of
/// a failed check.
pub async fn health(settings: &Settings, explain: impl FnOnce(AppError) -> String) -> Health {
    Health::of(match checks(settings).await {
        Ok(checks) => checks,
        Err(error) => {
            let mut checks = vec![Check::new("store", Status::Fail, explain(error))];
            checks.extend(of_servers(settings).await);
            checks
        }
    })
}

async fn checks(settings: &Settings) -> Result<Vec<Check>, AppError> {
    let store = open_store(settings, Access::Read).await?;
    let health = of_store(&store, settings).await?;
    store.close().await;
    Ok(health.checks)
}

/// Checks an open store, its groups and the alerts.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn of_store(store: &StoreHandle, settings: &Settings) -> Result<Health, AppError> {
    let mut checks = store::checks(store, settings).await?;
    checks.extend(groups::checks(store, settings).await?);
    checks.extend(alerts::checks(store, settings).await?);
    Ok(Health::of(checks))
}

/// Checks the reachable servers of a store that cannot be opened. Returns no checks if no server answers.
async fn of_servers(settings: &Settings) -> Vec<Check> {
    let Location::Redis { url, namespace } = settings.store.location() else { return Vec::new() };
    let Ok(options) = settings.open_options() else { return Vec::new() };
    adapters::redis::server_checks(url, namespace, options).await
}
