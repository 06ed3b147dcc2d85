//! The health and the counters of a service's groups.

use bus::ConsumerState;
use domain::{DeadLetterState, StorageFailure, group::Pending};
use jiff::Timestamp;
use serde::Serialize;
use stats::Window;

use super::{error::ServiceError, running::RunningService};

/// The health of a service, for a health endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceHealth {
    /// Whether the store answers, every group has a consumer, and no dead letter is open.
    pub is_healthy: bool,
    /// The error of the store, if a consumer of this process cannot work with the store.
    pub outage: Option<String>,
    /// The groups, in the order of the service's definition.
    pub groups: Vec<GroupHealth>,
}

/// The health of one group of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupHealth {
    /// The name of the group.
    pub name: String,
    /// The number of live consumers, in all processes.
    pub consumers: u64,
    /// The pending events.
    #[serde(flatten)]
    pub pending: Pending,
    /// The number of blocked and parked keys.
    pub blocked_keys: u64,
    /// The number of pending replayed events.
    pub replaying: u64,
    /// The number of open dead letters.
    pub open_dead_letters: u64,
    /// The time of the oldest open dead letter.
    pub oldest_dead_letter: Option<Timestamp>,
}

impl<S: Send + Sync + 'static> RunningService<S> {
    /// Reads the state of the service's groups from the store. A deleted group is missing in the result, and the
    /// service is then not healthy.
    ///
    /// # Errors
    /// Returns [`ServiceError`] when the store fails.
    pub async fn health(&self) -> Result<ServiceHealth, ServiceError> {
        let letters = self.store().count_dead_letters().await?;
        let mut groups = Vec::new();
        for name in &self.groups {
            let Some(status) = self.store().group(name).await? else { continue };
            let open =
                letters.iter().filter(|count| count.group == *name && count.state == DeadLetterState::Open);
            groups.push(GroupHealth {
                name: name.clone(),
                consumers: status.consumers.len() as u64,
                pending: self.store().pending(name).await?.unwrap_or_default(),
                blocked_keys: status.blocked_keys(),
                replaying: status.segments.iter().map(|segment| segment.lane).sum(),
                open_dead_letters: open.clone().map(|count| count.count).sum(),
                oldest_dead_letter: open.map(|count| count.oldest).min(),
            });
        }
        let outage = self.consumer_states().find_map(|state| state.outage);
        let outage =
            outage.map(|outage| outage.error.unwrap_or_else(|| "the store does not answer".to_owned()));
        let is_fine = |group: &GroupHealth| group.consumers > 0 && group.open_dead_letters == 0;
        let is_healthy = outage.is_none() && groups.len() == self.groups.len() && groups.iter().all(is_fine);
        Ok(ServiceHealth { is_healthy, outage, groups })
    }

    /// Returns the counters of the last 15 minutes, from every process that uses the store. They count admitted,
    /// rejected, handled and failed events, with times by type.
    ///
    /// # Errors
    /// Returns [`StorageFailure`] when the store fails.
    pub async fn stats(&self) -> Result<Window, StorageFailure> {
        self.bus().meter().flush(&**self.store()).await?;
        let now = self.bus().clock().now();
        let samples = self.store().stats(Some(Window::first_minute(now))).await?;
        Ok(Window::of(&samples, now))
    }

    /// Returns the states of this process's consumers, in the order of the groups.
    fn consumer_states(&self) -> impl Iterator<Item = ConsumerState> {
        self.consumers.iter().map(bus::Consumer::state)
    }
}
