//! The rules by which a group treats its deliveries: number of attempts, pauses, and dead letters.

use domain::{
    Backoff, Event, HandlerError, Jitter,
    dead_letter::{Failure, fingerprint},
    delivery::Verdict,
    group::GroupSpec,
    time::later,
};
use jiff::Timestamp;

/// The outcome of one call of the handlers.
#[derive(Debug)]
pub(crate) enum HandlerOutcome {
    Handled,
    /// No handler takes the event: it is a replay, or no pattern matches.
    Skipped,
    /// The event expired before its delivery.
    Expired,
    Failed(HandlerError),
}

impl HandlerOutcome {
    /// Returns the name of the outcome in spans and metrics.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Handled => "handled",
            Self::Skipped => "skipped",
            Self::Expired => "expired",
            Self::Failed(_) => "failed",
        }
    }
}

/// The decision about a delivery after its outcome.
#[derive(Debug)]
pub(crate) enum Decision {
    Done,
    Skipped,
    Again { due: Timestamp, failure: Failure },
    GiveUp(Failure),
}

/// The rules of one group in this process.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) spec: GroupSpec,
    /// The time at which the group was created. A later group with the same name is another group.
    pub(crate) made_at: Timestamp,
    pub(crate) max_retries: u32,
    pub(crate) backoff: Backoff,
    /// Whether a key is parked behind its dead letter.
    pub(crate) park: bool,
    /// Whether a delivery that the group gives up on becomes a dead letter. Otherwise it is dropped.
    pub(crate) dead_letters: bool,
}

impl Rules {
    /// Returns the number of attempts that an event has.
    pub(crate) fn max_attempts(&self, event: &Event) -> u32 {
        event.options().retries.map_or(self.max_retries, u32::from).saturating_add(1)
    }

    /// Returns the decision about a delivery after `attempts` attempts, the current attempt included.
    pub(crate) fn decide(
        &self,
        event: &Event,
        attempts: u32,
        answer: HandlerOutcome,
        now: Timestamp,
    ) -> Decision {
        let error = match answer {
            HandlerOutcome::Handled | HandlerOutcome::Expired => return Decision::Done,
            HandlerOutcome::Skipped => return Decision::Skipped,
            HandlerOutcome::Failed(error) => error,
        };
        let spent = attempts >= self.max_attempts(event);
        let pause = self.backoff.pause(attempts, Jitter::Full, fastrand::f64());
        let pause = match error.verdict {
            Verdict::Retry => pause,
            Verdict::RetryAfter(least) => pause.max(least),
            Verdict::GiveUp => return Decision::GiveUp(Failure { at: now, errors: error.errors }),
        };
        let failure = Failure { at: now, errors: error.errors };
        match spent {
            true => Decision::GiveUp(failure),
            false => Decision::Again { due: later(now, pause), failure },
        }
    }

    /// Returns the fingerprint, which is equal for similar failures.
    pub(crate) fn fingerprint(event: &Event, failure: &Failure) -> String {
        fingerprint(event.event_type(), failure.errors.first().map_or("", String::as_str))
    }
}

/// Returns the failure of a delivery without attempts left. Its consumer ended during each of them, so the delivery may
/// be the cause.
pub(crate) fn ended_its_consumer(attempts: u32, now: Timestamp) -> Failure {
    let errors =
        vec![format!("the consumer's process ended while it was handled, {attempts} times at least")];
    Failure { at: now, errors }
}
