//! The relay: publishes what waits in the outbox.

use std::{sync::Arc, time::Duration};

use event_replay::{Bus, PublishError, PublishOptions, SameEvent, domain::Retry};
use futures_util::future::join_all;
use sqlx::Pool;
use thiserror::Error;
use tokio::{sync::Notify, task::JoinHandle};

use crate::database::{OutboxDatabase, Waiting};

/// How a relay works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayOptions {
    /// How long it waits before it looks again where nothing waited.
    pub poll: Duration,
    /// How long it waits after a failure.
    pub pause: Duration,
    /// Events of one look.
    pub batch: u32,
}

impl Default for RelayOptions {
    /// Looks each 100 ms, and a second after a failure, for up to 500 events.
    fn default() -> Self {
        Self { poll: Duration::from_millis(100), pause: Duration::from_secs(1), batch: 500 }
    }
}

/// Why a look at the outbox ended early. Events that were not published wait.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The database failed.
    #[error("the outbox cannot be read or written: {0}")]
    Database(#[from] sqlx::Error),
    /// The log could not be written, also after it was tried again.
    #[error("an event of the outbox was not published yet: {0}")]
    Publish(PublishError),
}

/// A task that publishes what waits in an outbox. Several relays of one outbox, in several processes, are allowed: the log has each
/// event once all the same. Dropped, it ends at once; what is not published waits for the next relay.
#[derive(Debug)]
#[must_use = "a relay that is dropped publishes nothing more"]
pub struct Relay {
    task: JoinHandle<()>,
    stop: Arc<Notify>,
}

impl Relay {
    /// Starts to publish. Events go through the bus: they are checked, and stored in the log before they leave the outbox.
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

    /// Ends when nothing waits in the outbox any more, or after a failure; then what is left waits for the next relay.
    pub async fn stop(mut self) {
        self.stop.notify_one();
        if let Err(error) = (&mut self.task).await {
            tracing::error!(%error, "the relay of the outbox ended early");
        }
    }

    /// Publishes the first events that wait, at most `batch`; how many left the outbox. Events of one ordering key go one after
    /// the other, those of different keys at once.
    ///
    /// # Errors
    /// When the database or the log fails. Other ordering keys are published all the same.
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
    /// Why the rest waits.
    failure: Option<PublishError>,
}

async fn publish(bus: &Bus, events: &[Waiting]) -> Outcome {
    // The id decides: an earlier attempt of the handler may have published the event with another time.
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

/// Whether the log refuses this event, and not any event.
fn is_of_the_event(error: &PublishError) -> bool {
    let is_permanent = matches!(error.retry(), Retry::Never);
    is_permanent && matches!(error.kind(), "rejected" | "conflict" | "erased" | "batch-too-large")
}
