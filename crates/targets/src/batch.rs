//! Delivers a batch of a replay event by event: in order, with retries, and without a second delivery of settled
//! events.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Backoff, Jitter, Position, RetryPolicy,
    delivery::Verdict,
    ports::{DeliveryOutcome, ReplayDelivery, TargetError},
};
use futures_util::{StreamExt, stream};

use crate::failure::Failure;

/// The highest number of attempts for an event. It equals the default of a group.
const ATTEMPTS: u32 = 4;
/// The longest pause before a retry. If the other side asks for a longer pause, it counts as unavailable and the replay
/// waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Delivers one event once.
#[async_trait]
pub(crate) trait Attempt: Send + Sync {
    async fn attempt(&self, delivery: &ReplayDelivery, attempt: u32) -> Result<(), Failure>;
}

/// Delivers batches.
#[derive(Debug)]
pub(crate) struct Batches {
    /// The highest number of events in flight.
    concurrency: usize,
    /// The pause before the second attempt. Later pauses are longer.
    first_pause: Duration,
    /// The settled results of an unfinished batch, for its next delivery.
    settled: HashMap<(String, Position), DeliveryOutcome>,
}

impl Batches {
    pub(crate) fn new() -> Self {
        Self { concurrency: 1, first_pause: Duration::from_secs(1), settled: HashMap::new() }
    }

    pub(crate) fn set_concurrency(&mut self, concurrency: usize) {
        self.concurrency = concurrency.max(1);
    }

    pub(crate) fn set_first_pause(&mut self, pause: Duration) {
        self.first_pause = pause;
    }

    /// Delivers a batch. With a concurrency of 1, the events go one at a time in log order. With a higher concurrency,
    /// the events of each key go in log order, and several keys at the same time.
    ///
    /// # Errors
    /// Returns [`TargetError::Unavailable`] when the other side cannot be reached, or asks for a pause of more than 60
    /// seconds. The settled results are kept. When the batch is delivered again, only the other events are delivered.
    pub(crate) async fn deliver(
        &mut self,
        to: &dyn Attempt,
        batch: &[ReplayDelivery],
    ) -> Result<Vec<DeliveryOutcome>, TargetError> {
        let mut outcomes = self.settled(batch);
        let halted = AtomicBool::new(false);
        let chains = chains(batch, &outcomes, self.concurrency);
        let pauses = self.first_pause;
        let ended: Vec<Chain> =
            stream::iter(chains.into_iter().map(|chain| walk(to, batch, chain, pauses, &halted)))
                .buffer_unordered(self.concurrency)
                .collect()
                .await;
        let mut error = None;
        for chain in ended {
            for (index, outcome) in chain.settled {
                if let Some(place) = outcomes.get_mut(index) {
                    *place = Some(outcome);
                }
            }
            error = error.or(chain.error);
        }
        self.settled.clear();
        let Some(error) = error else { return Ok(outcomes.into_iter().flatten().collect()) };
        let known = batch.iter().map(name).zip(outcomes);
        self.settled.extend(known.filter_map(|(name, outcome)| Some((name, outcome?))));
        Err(error)
    }

    /// Returns the settled results of an unfinished batch.
    pub(crate) fn settled(&self, batch: &[ReplayDelivery]) -> Vec<Option<DeliveryOutcome>> {
        batch.iter().map(|delivery| self.settled.get(&name(delivery)).cloned()).collect()
    }
}

fn name(delivery: &ReplayDelivery) -> (String, Position) {
    (delivery.replay_id.clone(), delivery.stored.position)
}

/// Returns the sequences of events that must go one after the other: all events, or the events of each ordering key.
fn chains(
    batch: &[ReplayDelivery],
    outcomes: &[Option<DeliveryOutcome>],
    concurrency: usize,
) -> Vec<Vec<usize>> {
    let open = (0..batch.len()).filter(|index| matches!(outcomes.get(*index), Some(None)));
    if concurrency == 1 {
        return vec![open.collect()];
    }
    let mut chains: Vec<Vec<usize>> = Vec::new();
    let mut by_key = HashMap::new();
    for (index, delivery) in open.filter_map(|index| Some((index, batch.get(index)?))) {
        let key = delivery.stored.event.ordering_key();
        let chain = *by_key.entry((key.kind, key.id)).or_insert_with(|| {
            chains.push(Vec::new());
            chains.len() - 1
        });
        if let Some(chain) = chains.get_mut(chain) {
            chain.push(index);
        }
    }
    chains
}

/// The result of a sequence of events.
struct Chain {
    settled: Vec<(usize, DeliveryOutcome)>,
    error: Option<TargetError>,
}

async fn walk(
    to: &dyn Attempt,
    batch: &[ReplayDelivery],
    chain: Vec<usize>,
    first_pause: Duration,
    halted: &AtomicBool,
) -> Chain {
    let mut walked = Chain { settled: Vec::with_capacity(chain.len()), error: None };
    for index in chain {
        let Some(delivery) = batch.get(index).filter(|_| !halted.load(Ordering::Relaxed)) else { break };
        match persist(to, delivery, first_pause).await {
            Ok(outcome) => walked.settled.push((index, outcome)),
            Err(error) => {
                // The other sequences finish their current event, and start no further event.
                halted.store(true, Ordering::Relaxed);
                walked.error = Some(error);
            }
        }
    }
    walked
}

/// Tries an event until it is settled.
async fn persist(
    to: &dyn Attempt,
    delivery: &ReplayDelivery,
    first_pause: Duration,
) -> Result<DeliveryOutcome, TargetError> {
    let policy = RetryPolicy { max_retries: ATTEMPTS - 1, backoff: Backoff::new(first_pause, LONGEST_PAUSE) };
    for attempt in 1.. {
        let error = match to.attempt(delivery, attempt).await {
            Ok(()) => break,
            Err(Failure::Unreachable(error)) => return Err(TargetError::Unavailable(error.to_string())),
            Err(Failure::Failed(error)) => error,
        };
        let usual = policy.pause(attempt, Jitter::Added, fastrand::f64());
        let usual = usual.filter(|_| error.verdict != Verdict::GiveUp);
        let Some(usual) = usual else { return Ok(DeliveryOutcome::Failed(error.to_string())) };
        let asked = match error.verdict {
            Verdict::RetryAfter(asked) => asked,
            Verdict::Retry | Verdict::GiveUp => Duration::ZERO,
        };
        if asked > LONGEST_PAUSE {
            return Err(TargetError::Unavailable(error.to_string()));
        }
        tokio::time::sleep(asked.max(usual)).await;
    }
    Ok(DeliveryOutcome::Handled)
}
