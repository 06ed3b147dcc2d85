//! The lag of each group of a service, as a gauge for the recorder of the `metrics` facade.

use std::{sync::Arc, time::Duration};

use domain::ports::Stores;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::error::ServiceError;
use crate::lag::GroupLag;

/// The interval between two refreshes. Prometheus scrapes at about this interval.
const REFRESH_EVERY: Duration = Duration::from_secs(15);

/// A task that refreshes the gauges. It ends when this value is dropped.
pub(crate) struct LagGauges {
    _task: JoinSet<()>,
}

impl LagGauges {
    /// Starts the task. The service defines its groups in code, so the number of series is bounded.
    pub(crate) fn spawn(store: Arc<dyn Stores>, groups: Vec<String>) -> Self {
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut ticks = tokio::time::interval(REFRESH_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                for group in &groups {
                    if let Err(error) = refresh(&*store, group).await {
                        tracing::debug!(%error, %group, "the lag of a group could not be read");
                    }
                }
            }
        });
        Self { _task: task }
    }
}

/// Reads and publishes the lag of a group. A deleted group keeps its last value.
async fn refresh(store: &dyn Stores, group: &str) -> Result<(), ServiceError> {
    if let Some(status) = store.group(group).await? {
        stats::group_lag(group, GroupLag::of(store, &status).await?.events);
    }
    Ok(())
}
