//! Consuming: the running consumer of a group, and the rooms of its actor.
//!
//! | module | contents |
//! |---|---|
//! | `actor` | the task: reads, claims, hands over, commits |
//! | `segment` | a leased segment; brings `live`, `ledger` and `lane` together into commits |
//! | `live` | what was fetched from the log and not settled |
//! | `ledger` | keys that are tracked apart from the cursor: retries, slow handlers, parked keys, isolated attempts |
//! | `lane` | references of replays and redrives |
//! | `handing` | calling handlers: time limit, panics, error hooks |
//! | `breaker` | when many deliveries fail in a row: wait, probe, go on |
//! | `log` | the reader that all consumers of the process share |
//! | `stopping` | whether and how the consumer is to end |

mod actor;
mod breaker;
mod fetch;
mod handing;
mod lane;
mod ledger;
mod live;
mod log;
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

/// A running consumer of a group. It ends when it is told to, or when its group is deleted.
///
/// Keep it for as long as the group is to be consumed. A consumer that is dropped ends too: its handlers are dropped at their next
/// `await`, what they answered before is committed, and its segments are given back, within a second or two. Nothing waits for that,
/// so prefer [`Consumer::stop`].
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

    /// Its group.
    pub fn group(&self) -> &GroupSpec {
        &self.group
    }

    /// Whether it made its group: of consumers that start at once one alone did, and the group begins where that one says.
    pub fn made_group(&self) -> bool {
        self.made_group
    }

    /// Its name among the group's consumers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it stands, as of its last renewal.
    pub fn state(&self) -> ConsumerState {
        self.state.borrow().clone()
    }

    /// How it stands from now on. What it says last of the store stands when the consumer has ended.
    pub fn states(&self) -> watch::Receiver<ConsumerState> {
        self.state.clone()
    }

    /// Whether it has ended, as when its group was deleted.
    pub fn has_ended(&self) -> bool {
        self.task.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until it works on its share of the segments.
    pub async fn settled(&mut self) {
        // Where the actor has ended there is nothing to wait for.
        let _ = self
            .state
            .wait_for(|state| state.share > 0 && state.segments.len() == usize::from(state.share))
            .await;
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// Why it ended. Without an error it was stopped.
    pub async fn ended(&mut self) -> Result<(), ConsumerError> {
        let Some(task) = &mut self.task else { return Ok(()) };
        let ended = task.await;
        self.task = None;
        ended.unwrap_or(Ok(()))
    }

    /// Tells it to stop and waits: running handlers have the settings' grace to end, what they answered is committed, and
    /// the segments are given back.
    ///
    /// # Errors
    /// Where it had ended before, and why.
    pub async fn stop(mut self) -> Result<(), ConsumerError> {
        self.stop.send_replace(Stopping::InOrder);
        self.ended().await
    }

    /// Ends it at once and gives nothing back, as if its process had been killed: its segments are free when their leases are
    /// over. Meant for tests of what happens then.
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
