//! The running consumer of a consumer group, and the parts of its actor.
//!
//! | module | contents |
//! |---|---|
//! | `actor` | the task: reads, claims, delivers, commits |
//! | `segment` | a leased segment; combines `live`, `ledger` and `lane` into commits |
//! | `live` | events fetched from the log and not settled |
//! | `ledger` | keys that are tracked apart from the cursor: retries, slow handlers, parked keys, isolated attempts |
//! | `lane` | references of replays and redrives |
//! | `handing` | calls of handlers: time limit, error hooks |
//! | `panics` | panics of handlers as errors |
//! | `breaker` | the circuit breaker: after many failures in a row it pauses, probes and resumes |
//! | `log` | the log reader that all consumers of the process share |
//! | `stopping` | whether and how the consumer must end |

mod actor;
mod breaker;
mod fetch;
mod handing;
mod lane;
mod ledger;
mod live;
mod log;
pub(crate) mod panics;
mod ready;
mod rules;
mod segment;
mod settings;
mod status;
mod stopping;
mod tally;
mod work;

use domain::group::GroupSpec;
use tokio::{sync::watch, task::JoinHandle};

pub(crate) use actor::Actor;
pub use actor::ConsumerError;
pub use breaker::BreakerSettings;
pub(crate) use handing::{Route, Router};
pub(crate) use log::LogReader;
pub(crate) use rules::Rules;
pub use settings::{ConsumerSettings, MAX_CONCURRENCY};
pub use status::{ConsumerState, Outage};
pub(crate) use stopping::Stopping;

/// A running consumer of a consumer group. It ends when the program stops it, or when its group is deleted.
///
/// Keep the value while the group must be consumed. A dropped consumer ends too. Its handlers are dropped at their next
/// `await`, its answered deliveries are committed, and its segments are released within a second or two. No call waits
/// for this, so prefer [`Consumer::stop`].
#[derive(Debug)]
#[must_use = "a consumer that is dropped handles nothing more: keep it, and end it with `stop`"]
pub struct Consumer {
    group: GroupSpec,
    made_group: bool,
    name: String,
    stop: watch::Sender<Stopping>,
    state: watch::Receiver<ConsumerState>,
    task: Option<JoinHandle<Result<(), ConsumerError>>>,
}

impl Consumer {
    pub(crate) fn new(
        group: GroupSpec,
        made_group: bool,
        name: String,
        stop: watch::Sender<Stopping>,
        state: watch::Receiver<ConsumerState>,
        task: JoinHandle<Result<(), ConsumerError>>,
    ) -> Self {
        Self { group, made_group, name, stop, state, task: Some(task) }
    }

    /// Returns the consumer group.
    pub fn group(&self) -> &GroupSpec {
        &self.group
    }

    /// Returns whether this consumer created the group. Of several consumers that start together, exactly one creates
    /// the group. Its start place applies.
    pub fn made_group(&self) -> bool {
        self.made_group
    }

    /// Returns the consumer's name, which is unique in the group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the consumer's state as of its last lease renewal.
    pub fn state(&self) -> ConsumerState {
        self.state.borrow().clone()
    }

    /// Returns a receiver of the consumer's state. After the consumer ends, the last reported outage stays in the
    /// state.
    pub fn states(&self) -> watch::Receiver<ConsumerState> {
        self.state.clone()
    }

    /// Returns whether the consumer has ended, for example because its group was deleted.
    pub fn has_ended(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until the consumer works on its share of the segments.
    pub async fn settled(&mut self) {
        // If the actor has ended, there is nothing to wait for.
        let _ = self
            .state
            .wait_for(|state| state.share > 0 && state.segments.len() == usize::from(state.share))
            .await;
    }

    /// Waits until the consumer ends by itself.
    ///
    /// # Errors
    /// Returns the [`ConsumerError`] that ended the consumer. Returns `Ok` if the consumer was stopped.
    pub async fn ended(&mut self) -> Result<(), ConsumerError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let ended = task.await;
        self.task = None;
        match ended {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => Err(ConsumerError::Broken(self.group.name.clone())),
            Err(_) => Ok(()),
        }
    }

    /// Stops the consumer and waits. Running handlers may finish within the grace of the settings. The consumer then
    /// commits the answered deliveries and releases the segments.
    ///
    /// # Errors
    /// Returns the [`ConsumerError`] if the consumer had ended before.
    pub async fn stop(mut self) -> Result<(), ConsumerError> {
        self.stop.send_replace(Stopping::InOrder);
        self.ended().await
    }

    /// Ends the consumer immediately and releases nothing, as if its process had been killed. Its segments become free
    /// when their leases expire. This is meant for tests of that case.
    pub fn abort(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let Some(task) = self.task.take() else { return };
        if task.is_finished() {
            return;
        }
        tracing::warn!(
            group = %self.group.name, consumer = %self.name,
            "a consumer was dropped while it ran, and handles nothing more: keep it, and end it with stop()"
        );
        self.stop.send_replace(Stopping::AtOnce);
    }
}
