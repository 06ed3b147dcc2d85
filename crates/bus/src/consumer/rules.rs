//! How a group treats its deliveries: how often it tries, how long it waits, and when it gives up.

use domain::{
    Backoff, Event, HandlerError, Jitter,
    dead_letter::{Failure, fingerprint},
    delivery::Verdict,
    group::GroupSpec,
    time::later,
};
use jiff::Timestamp;

/// The outcome of one hand-over.
#[derive(Debug)]
pub(crate) enum HandlerOutcome {
    Handled,
    /// No handler takes it: it is a replay, or no pattern matches.
    Skipped,
    /// It came too late to be handed over.
    Expired,
    Failed(HandlerError),
}

impl HandlerOutcome {
    /// Its name in spans and metrics.
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
    /// When the group was made: another one of its name is not this group.
    pub(crate) made_at: Timestamp,
    pub(crate) max_retries: u32,
    pub(crate) backoff: Backoff,
    /// Whether a key waits behind its dead letter.
    pub(crate) park: bool,
    /// Whether deliveries that are given up on become dead letters; else they are dropped.
    pub(crate) dead_letters: bool,
}

impl Rules {
    /// Attempts that an event has.
    pub(crate) fn max_attempts(&self, event: &Event) -> u32 {
        event.options().retries.map_or(self.max_retries, u32::from).saturating_add(1)
    }

    /// What becomes of a delivery that has been tried `attempts` times, this time included.
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

    /// What is the same for failures of this kind.
    pub(crate) fn fingerprint(event: &Event, failure: &Failure) -> String {
        fingerprint(event.event_type(), failure.errors.first().map_or("", String::as_str))
    }
}

/// What a delivery says that was handed over so often, and never answered, that it is taken for what ends its consumers.
pub(crate) fn ended_its_consumer(attempts: u32, now: Timestamp) -> Failure {
    let errors =
        vec![format!("the consumer's process ended while it was handled, {attempts} times at least")];
    Failure { at: now, errors }
}
