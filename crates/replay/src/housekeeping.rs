//! Keeping a store in bounds while a process runs: retention, again and again.
//!
//! The command line applies retention after what it stores. A service that publishes by itself has to do so too, above all
//! where events are kept only until they are delivered: nothing else lets go of them.

use std::time::Duration;

use domain::RetentionRule;
use tokio::task::JoinHandle;

use crate::{cancel::Cancel, manager::ReplayManager};

/// What a housekeeper does.
#[derive(Debug, Clone)]
pub struct HousekeepingOptions {
    /// What goes: the oldest events that any of these rules names. Where events are kept only until they are delivered,
    /// what every group has goes without any rule.
    pub rules: Vec<RetentionRule>,
    /// How long after one round the next begins.
    pub every: Duration,
}

impl Default for HousekeepingOptions {
    /// No rule, a round every ten minutes.
    fn default() -> Self {
        Self { rules: Vec::new(), every: Duration::from_secs(600) }
    }
}

/// A task that applies retention to a store. It ends with [`Housekeeper::stop`], or when it is dropped.
///
/// Any number of them may look after one store. What checkpoints, groups and replays hold stays; dead letters go 30 days
/// after they were closed, where the manager knows of them. A round that fails is logged, and the next one begins in its time.
#[derive(Debug)]
pub struct Housekeeper {
    stop: Cancel,
    task: Option<JoinHandle<()>>,
}

impl Housekeeper {
    /// Begins with a round at once, in a task of its own. `manager` is of the store that is looked after.
    pub fn spawn(manager: ReplayManager, options: HousekeepingOptions) -> Self {
        let stop = Cancel::default();
        let task = tokio::spawn(keep_house(manager, options, stop.clone()));
        Self { stop, task: Some(task) }
    }

    /// Ends it, after the step of a round that it is at: at most 2,000 events of one rule. A round of so few is whole.
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
