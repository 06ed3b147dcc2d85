//! Housekeeping: applies retention at intervals while a process runs.
//!
//! The command line applies retention after it stores events. A service that publishes events without the command line
//! needs a housekeeper. It is most important for a store that keeps events only until delivery, because nothing else
//! removes them.

use std::time::Duration;

use domain::RetentionRule;
use tokio::task::JoinHandle;

use crate::{cancel::Cancel, manager::ReplayManager};

/// The options of a housekeeper.
#[derive(Debug, Clone)]
pub struct HousekeepingOptions {
    /// The retention rules. They remove the oldest events. A store that keeps events only until delivery also removes
    /// every event that all groups have, without any rule.
    pub rules: Vec<RetentionRule>,
    /// The pause between two rounds.
    pub every: Duration,
}

impl Default for HousekeepingOptions {
    /// No rule, and ten minutes between rounds.
    fn default() -> Self {
        Self { rules: Vec::new(), every: Duration::from_secs(600) }
    }
}

/// A task that applies retention to a store. It ends with [`Housekeeper::stop`], or when it is dropped.
///
/// Several housekeepers may share a store. Events that checkpoints, groups and replays hold stay. Dead letters are
/// removed 30 days after they were closed, if the manager has the dead letter store. A failed round is logged, and the
/// next round begins at its time.
#[derive(Debug)]
pub struct Housekeeper {
    stop: Cancel,
    task: Option<JoinHandle<()>>,
}

impl Housekeeper {
    /// Starts a housekeeper in a separate task, with the first round at once. `manager` belongs to the store.
    pub fn spawn(manager: ReplayManager, options: HousekeepingOptions) -> Self {
        let stop = Cancel::default();
        let task = tokio::spawn(keep_house(manager, options, stop.clone()));
        Self { stop, task: Some(task) }
    }

    /// Stops the housekeeper after its current step, which removes at most 2,000 events of one rule. A round with fewer
    /// events is completed.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take()
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the task that applies retention ended early");
        }
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn keep_house(manager: ReplayManager, options: HousekeepingOptions, stop: Cancel) {
    loop {
        match manager.trim(&options.rules, false, None, stop.clone()).await {
            Ok(report) if report.events > 0 || report.dead_letters > 0 => {
                tracing::info!(
                    events = report.events,
                    bytes = report.bytes,
                    dead_letters = report.dead_letters,
                    held_by = ?report.held_by,
                    "retention removed what its rules say"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "retention was not applied"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(options.every) => {}
        }
    }
}
