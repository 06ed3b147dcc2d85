//! How a service's groups are, and what was counted.

use bus::ConsumerState;
use domain::{DeadLetterState, StorageFailure, group::Pending};
use jiff::Timestamp;
use serde::Serialize;
use stats::Window;

use super::{error::ServiceError, running::RunningService};

/// How a service is: answer a health check with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceHealth {
    /// Whether the store answers, every group of the service is consumed, and no dead letter is open.
    pub is_healthy: bool,
    /// What the store says, where a consumer of this process cannot work with it.
    pub outage: Option<String>,
    /// Its groups, in the order in which the service names them.
    pub groups: Vec<GroupHealth>,
}

/// How a group of a service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupHealth {
    /// The group.
    pub name: String,
    /// Its consumers that are alive, in every process.
    pub consumers: u64,
    /// Events that it has still to handle.
    #[serde(flatten)]
    pub pending: Pending,
    /// Keys that wait: for another attempt, or behind a dead letter.
    pub blocked_keys: u64,
    /// Replayed events that it has still to handle.
    pub replaying: u64,
    /// Its dead letters that are open.
    pub open_dead_letters: u64,
    /// When the oldest of these was made.
    pub oldest_dead_letter: Option<Timestamp>,
}

impl<S: Send + Sync + 'static> RunningService<S> {
    /// Looks at the service's groups in the store.
    ///
    /// # Errors
    /// When the store fails. A group that was deleted is left out, and the service is not healthy.
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

    /// What every process that uses the store counted in the last 15 minutes: admitted, rejected, handled, failed, with times by type.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stats(&self) -> Result<Window, StorageFailure> {
        self.bus().meter().flush(&**self.store()).await?;
        let now = self.bus().clock().now();
        let samples = self.store().stats(Some(Window::first_minute(now))).await?;
        Ok(Window::of(&samples, now))
    }

    /// How the consumers of this process are, in the order of its groups.
    fn consumer_states(&self) -> impl Iterator<Item = ConsumerState> {
        self.consumers.iter().map(bus::Consumer::state)
    }
}
