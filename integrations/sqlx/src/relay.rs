//! The relay, which publishes the events of the outbox.

use std::{sync::Arc, time::Duration};

use event_replay::{Bus, PublishError, PublishOptions, SameEvent, domain::Retry};
use futures_util::future::join_all;
use sqlx::Pool;
use thiserror::Error;
use tokio::{sync::Notify, task::JoinHandle};

use crate::database::{OutboxDatabase, Waiting};

/// The options of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayOptions {
    /// Pause before the next poll, after the outbox was empty.
    pub poll: Duration,
    /// Pause after a failure.
    pub pause: Duration,
    /// Maximum number of events of one poll.
    pub batch: u32,
}

impl Default for RelayOptions {
    /// Polls every 100 ms for up to 500 events, and pauses for one second after a failure.
    fn default() -> Self {
        Self { poll: Duration::from_millis(100), pause: Duration::from_secs(1), batch: 500 }
    }
}

/// A poll of the outbox failed. Events that were not published stay in the outbox.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The database failed.
    #[error("the outbox cannot be read or written: {0}")]
    Database(#[from] sqlx::Error),
    /// The log could not be written, even after retries.
    #[error("an event of the outbox was not published yet: {0}")]
    Publish(PublishError),
}

/// A task that publishes the events of an outbox. Several relays in several processes may share one outbox. The log
/// still contains each event once. Dropping the value ends the task at once, and the next relay publishes the remaining
/// events.
#[derive(Debug)]
#[must_use = "a relay that is dropped publishes nothing more"]
pub struct Relay {
    task: JoinHandle<()>,
    stop: Arc<Notify>,
}

impl Relay {
    /// Starts a relay. The bus checks each event, and the log stores the event before it is removed from the outbox.
    pub fn start<DB: OutboxDatabase>(pool: Pool<DB>, bus: Bus, options: RelayOptions) -> Self {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut goes_on = true;
            while goes_on {
                let wait = match Self::step(&pool, &bus, options.batch).await {
                    Ok(0) => options.poll,
                    Ok(_) => Duration::ZERO,
                    Err(error) => {
                        tracing::warn!(%error, "publishing events of the outbox failed, and is tried again");
                        options.pause
                    }
                };
                goes_on = wait.is_zero()
                    || tokio::select! {
                        () = stopped.notified() => false,
                        () = tokio::time::sleep(wait) => true,
                    };
            }
        });
        Self { task, stop }
    }

    /// Stops the relay when the outbox is empty, or after a failure. The next relay publishes the remaining events.
    pub async fn stop(mut self) {
        self.stop.notify_one();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the relay of the outbox ended early");
        }
    }

    /// Publishes the first waiting events, at most `batch`. Returns the number of events that left the outbox. Events
    /// of one ordering key are published one after the other, and events of different keys concurrently.
    ///
    /// # Errors
    /// Returns a [`RelayError`] when the database or the log fails. The events of other ordering keys are still
    /// published.
    pub async fn step<DB: OutboxDatabase>(
        pool: &Pool<DB>,
        bus: &Bus,
        batch: u32,
    ) -> Result<usize, RelayError> {
        let mut keys: Vec<Vec<Waiting>> = Vec::new();
        for event in DB::waiting(pool, batch.max(1).into()).await? {
            match keys.iter_mut().find(|key| key.first().is_some_and(|first| first.key == event.key)) {
                Some(key) => key.push(event),
                None => keys.push(vec![event]),
            }
        }
        let outcomes = join_all(keys.iter().map(|key| publish(bus, key))).await;
        let published: Vec<i64> = outcomes.iter().flat_map(|outcome| &outcome.published).copied().collect();
        DB::remove(pool, &published).await?;
        let mut left = published.len();
        let mut failure = None;
        for outcome in outcomes {
            for (seq, error) in outcome.refused {
                tracing::error!(%error, "an event of the outbox is set aside: the log refuses it permanently");
                DB::set_aside(pool, seq, &error.to_string()).await?;
                left += 1;
            }
            failure = failure.or(outcome.failure);
        }
        match failure {
            None => Ok(left),
            Some(error) => Err(RelayError::Publish(error)),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The result for the events of one key.
#[derive(Default)]
struct Outcome {
    published: Vec<i64>,
    refused: Vec<(i64, PublishError)>,
    /// The error that stopped the publishing. The remaining events wait.
    failure: Option<PublishError>,
}

async fn publish(bus: &Bus, events: &[Waiting]) -> Outcome {
    // Events are compared by id only. An earlier attempt of the handler may have published the event with another time.
    let options = PublishOptions { same_event: SameEvent::ById, ..PublishOptions::default() };
    let mut outcome = Outcome::default();
    for event in events {
        match bus.publish_with(event.json.as_bytes(), &options).await {
            Ok(_) => outcome.published.push(event.seq),
            Err(error) if is_of_the_event(&error) => outcome.refused.push((event.seq, error)),
            Err(error) => {
                outcome.failure = Some(error);
                break;
            }
        }
    }
    outcome
}

/// Whether the log refuses this event in particular, and not any event.
fn is_of_the_event(error: &PublishError) -> bool {
    let is_permanent = matches!(error.retry(), Retry::Never);
    is_permanent && matches!(error.kind(), "rejected" | "conflict" | "erased" | "batch-too-large")
}
