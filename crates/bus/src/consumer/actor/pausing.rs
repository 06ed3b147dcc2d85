//! Pauses of the group by operators and by circuit breakers, this consumer's own breaker included.

use std::{sync::Arc, time::Duration};

use domain::{group::GroupPause, ports::GroupStoreError, time::later};
use tokio::time::Instant;

use super::{Actor, Io};
use crate::consumer::{
    breaker::{Permit, Turned},
    rules::HandlerOutcome,
};

/// The interval at which the consumer reads the pauses of its group.
const ASK_EVERY: Duration = Duration::from_millis(500);

impl Actor {
    /// Requests the pauses of the group.
    pub(super) fn ask_pauses(&mut self, now: Instant) {
        if self.asking_pauses || self.ask_pauses_again > now {
            return;
        }
        self.asking_pauses = true;
        let (store, group) = (Arc::clone(&self.shared.store), self.rules.spec.name.clone());
        self.io.spawn(async move { Io::Pauses(store.pauses(&group).await) });
    }

    pub(super) fn came_pauses(&mut self, pauses: Result<Vec<GroupPause>, GroupStoreError>) {
        self.asking_pauses = false;
        self.ask_pauses_again = Instant::now() + ASK_EVERY;
        let pauses = match pauses {
            Ok(pauses) => pauses,
            Err(error) => {
                // The last known pauses stay in effect.
                tracing::debug!(group = %self.rules.spec.name, %error, "it cannot be told whether the group is paused");
                return;
            }
        };
        self.knows_pauses = true;
        let now = self.now();
        let others: Vec<GroupPause> = pauses
            .into_iter()
            .filter(|pause| pause.source != self.breaker_source() && pause.is_in_effect(now))
            .collect();
        if others != self.pauses {
            match others.first() {
                Some(pause) => tracing::warn!(
                    group = %self.rules.spec.name, by = %pause.by, reason = pause.reason.as_deref().unwrap_or(""),
                    "the group is paused: nothing is handed over"
                ),
                None => tracing::info!(group = %self.rules.spec.name, "the group is resumed"),
            }
            self.pauses = others;
            self.tell_pauses();
        }
    }

    fn tell_pauses(&self) {
        let pauses = self.pauses.clone();
        self.state.send_modify(|state| state.pauses = pauses);
    }

    /// Returns the deliveries that may start now.
    pub(super) fn permit(&self) -> Permit {
        if !self.knows_pauses {
            return Permit::Nothing;
        }
        // A consumer with an open breaker sends its own probes. Two such consumers that wait for each other would wait
        // too long.
        let counts = |pause: &&GroupPause| self.breaker.is_closed() || !pause.is_of_breaker();
        match self.pauses.iter().filter(counts).any(|pause| pause.is_in_effect(self.now())) {
            true => Permit::Nothing,
            // This runs for each delivery, and a closed breaker needs no clock.
            false if self.breaker.is_closed() => Permit::All,
            false => self.breaker.permit(Instant::now(), self.tasks.len()),
        }
    }

    /// Passes a handler's answer to the circuit breaker.
    pub(super) fn note_answer(&mut self, answer: &HandlerOutcome, attempt: u32) {
        let turned = match answer {
            HandlerOutcome::Handled => self.breaker.succeeded(),
            // The repeated failure of one event says nothing about other events.
            HandlerOutcome::Failed(_) if attempt > 1 && self.breaker.is_closed() => return,
            HandlerOutcome::Failed(error) if !error.is_permanent() => self.breaker.failed(Instant::now()),
            // These outcomes depend only on the event.
            HandlerOutcome::Failed(_) | HandlerOutcome::Skipped | HandlerOutcome::Expired => return,
        };
        match turned {
            Some(Turned::Opened(pause)) => self.tell_open(pause, answer),
            Some(Turned::Closed) => self.tell_closed(),
            None => {}
        }
    }

    /// Pauses the group for the other consumers too, until the probe must have been answered.
    fn tell_open(&mut self, pause: Duration, answer: &HandlerOutcome) {
        let error = match answer {
            HandlerOutcome::Failed(error) => error.errors.first().cloned().unwrap_or_default(),
            _ => String::new(),
        };
        let failures = self.breaker.failures();
        tracing::warn!(
            group = %self.rules.spec.name, ?pause, error,
            "{failures} events in a row failed at their first attempt: the circuit breaker pauses the group"
        );
        let now = self.now();
        let own = GroupPause {
            source: self.breaker_source(),
            since: now,
            by: self.settings.name.clone(),
            reason: Some(format!("{failures} events in a row failed, the last with: {error}")),
            until: Some(later(now, pause + self.settings.timeout)),
        };
        let (store, group) = (Arc::clone(&self.shared.store), self.rules.spec.name.clone());
        self.io.spawn(async move {
            if let Err(error) = store.pause_group(&group, &own).await {
                tracing::warn!(%group, %error, "the other consumers do not know that the circuit breaker is open");
            }
            Io::Noted
        });
    }

    fn tell_closed(&mut self) {
        tracing::info!(group = %self.rules.spec.name, "a delivery was handled: the circuit breaker closes");
        let (store, group) = (Arc::clone(&self.shared.store), self.rules.spec.name.clone());
        let source = self.breaker_source();
        self.io.spawn(async move {
            if let Err(error) = store.resume_group(&group, Some(&source)).await {
                tracing::warn!(%group, %error, "the other consumers wait until the pause of the circuit breaker is over");
            }
            Io::Noted
        });
    }

    fn breaker_source(&self) -> String {
        GroupPause::of_breaker(&self.settings.name)
    }
}
