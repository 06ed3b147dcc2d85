//! A replay's batch, handed over event by event: in order, tried again, and never twice what is settled.

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

/// How often an event is tried, the first time included: as often as by a group that says nothing else.
const ATTEMPTS: u32 = 4;
/// The longest pause before an event is tried again. Who asks for more is left to the replay, as if it was not there.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Tries to hand over one event, once.
#[async_trait]
pub(crate) trait Attempt: Send + Sync {
    async fn attempt(&self, delivery: &ReplayDelivery, attempt: u32) -> Result<(), Failure>;
}

/// Hands batches over.
#[derive(Debug)]
pub(crate) struct Batches {
    /// How many events may be open at once.
    concurrency: usize,
    /// The pause before the second attempt; the ones after it are longer.
    first_pause: Duration,
    /// The settled results of a batch that could not be finished, for its next delivery.
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

    /// Hands a batch over: in log order, one at a time; with more concurrency in log order a key, several keys at once.
    ///
    /// # Errors
    /// The other side cannot be reached, or asks to be left alone for long. What was settled before is remembered: when
    /// the batch is delivered again, only the rest is handed over.
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

    /// What is settled of a batch that could not be finished.
    pub(crate) fn settled(&self, batch: &[ReplayDelivery]) -> Vec<Option<DeliveryOutcome>> {
        batch.iter().map(|delivery| self.settled.get(&name(delivery)).cloned()).collect()
    }
}

fn name(delivery: &ReplayDelivery) -> (String, Position) {
    (delivery.replay_id.clone(), delivery.stored.position)
}

/// What is to be handed over one after the other: everything, or what shares an ordering key.
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

/// What became of a chain.
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
                // Other keys end what they have begun, and begin nothing more.
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
