//! Dead letters: deliveries that a group gave up on. Each keeps its event, its failures and its state.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{event::Event, position::Position};

/// State of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadLetterState {
    /// The dead letter waits for an operator.
    Open,
    /// A redrive is under way: the dead letter is in the replay lane of its group.
    Redriving,
    /// A handler handled the redriven event.
    Handled,
    /// An operator closed the dead letter without handling it.
    Discarded,
}

impl DeadLetterState {
    /// Returns whether the dead letter is closed: handled or discarded.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Handled | Self::Discarded)
    }
}

/// One failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Time of the failure.
    pub at: Timestamp,
    /// Messages of the handler's error, the outermost error first, then its causes.
    pub errors: Vec<String>,
}

impl Failure {
    /// Most bytes of error text that are kept of a failure while its delivery is tried again. Many deliveries may
    /// wait for a retry at once, so the bound is low.
    pub const MAX_EARLIER_BYTES: usize = 512;

    /// Returns the failure in the form that is kept while its delivery is tried again. It keeps the outermost errors,
    /// up to [`Failure::MAX_EARLIER_BYTES`].
    pub fn shortened(mut self) -> Self {
        let mut left = Self::MAX_EARLIER_BYTES;
        self.errors.retain_mut(|error| {
            if left == 0 {
                return false;
            }
            if error.len() > left {
                let cut = (0..=left).rev().find(|at| error.is_char_boundary(*at)).unwrap_or(0);
                error.truncate(cut);
                error.push('…');
                left = 0;
            } else {
                left -= error.len();
            }
            true
        });
        self
    }

    /// Returns the approximate size of the failure, in bytes.
    pub fn size_bytes(&self) -> usize {
        self.errors.iter().map(|error| error.len() + 8).sum::<usize>() + 32
    }
}

/// Most failures that are kept of a delivery while it is tried again.
pub const MAX_EARLIER_FAILURES: usize = 5;

/// Adds a failure to a history of at most `most` failures, or of 2 if `most` is lower. A full history keeps its first
/// failure, which says most about the cause, and drops the second one.
pub fn note_failure(history: &mut Vec<Failure>, failure: Failure, most: usize) {
    if history.len() >= most.max(2) {
        history.remove(1);
    }
    history.push(failure);
}

/// A delivery that a group gives up on, as the consumer reports it. The store reads the event from its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeadLetter {
    /// Position of the event.
    pub position: Position,
    /// Number of attempts of the delivery.
    pub attempts: u32,
    /// Last failure.
    pub failure: Failure,
    /// Failures of the attempts before the last one, as [`note_failure`] keeps them.
    pub earlier: Vec<Failure>,
    /// Digest that is equal for similar failures: see [`fingerprint`].
    pub fingerprint: String,
    /// Id of the replay that delivered the event, if one did.
    pub replay_id: Option<String>,
    /// Whether the key of the event is parked behind the dead letter.
    pub parked: bool,
}

impl NewDeadLetter {
    /// Returns the open dead letter that the store keeps. The store draws the id.
    pub fn into_letter(self, id: String, group: &str, event: Event, now: Timestamp) -> DeadLetter {
        let mut history = Vec::with_capacity(self.earlier.len() + 1);
        for failure in self.earlier.into_iter().chain([self.failure]) {
            note_failure(&mut history, failure, DeadLetter::MAX_HISTORY);
        }
        DeadLetter {
            id,
            group: group.to_owned(),
            position: self.position,
            event,
            state: DeadLetterState::Open,
            attempts: self.attempts,
            history,
            fingerprint: self.fingerprint,
            replay_id: self.replay_id,
            parked: self.parked,
            created_at: now,
            updated_at: now,
            reason: None,
            edit: None,
        }
    }
}

/// A dead letter. A group has one dead letter for each position: repeated failures merge into it.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Id of the dead letter.
    pub id: String,
    /// Group that gave up on the delivery.
    pub group: String,
    /// Position of the event in the log. After a trim, the log may no longer hold the event. `event` is a copy.
    pub position: Position,
    /// The event.
    pub event: Event,
    /// State of the dead letter.
    pub state: DeadLetterState,
    /// Number of attempts, those of redrives included.
    pub attempts: u32,
    /// Failures of the attempts, oldest first. Beyond [`DeadLetter::MAX_HISTORY`], the first and the most recent
    /// failures are kept. Of the attempts before the group gave up, at most [`MAX_EARLIER_FAILURES`] are kept: the
    /// first and the most recent. An attempt that ended its process left no failure.
    pub history: Vec<Failure>,
    /// Digest that is equal for similar failures: see [`fingerprint`].
    pub fingerprint: String,
    /// Id of the replay that last delivered the event, if one did.
    pub replay_id: Option<String>,
    /// Whether the key of the event is parked behind the dead letter.
    pub parked: bool,
    /// Time at which the group first gave up on the delivery.
    pub created_at: Timestamp,
    /// Time of the last change.
    pub updated_at: Timestamp,
    /// Reason for which an operator discarded the dead letter, if one did.
    pub reason: Option<String>,
    /// Edited event of an operator. A redrive sends it in place of `event`.
    pub edit: Option<LetterEdit>,
}

/// An event that a redrive sends in place of the original event. The original event does not change.
#[derive(Debug, Clone)]
pub struct LetterEdit {
    /// The edited event. It has the same id, type and entities as the original event.
    pub event: Event,
    /// Operator who edited the event.
    pub by: String,
    /// Time of the edit.
    pub at: Timestamp,
    /// Reason for the edit, if the operator stated one.
    pub reason: Option<String>,
}

impl DeadLetter {
    /// Most failures that the history of a dead letter holds.
    pub const MAX_HISTORY: usize = 20;

    /// Returns the event that a redrive sends: the edited event if there is one.
    pub fn redriven_event(&self) -> &Event {
        self.edit.as_ref().map_or(&self.event, |edit| &edit.event)
    }

    /// Returns the last failure.
    pub fn last_failure(&self) -> Option<&Failure> {
        self.history.last()
    }

    /// Merges a further failure of the same delivery into the dead letter. The attempts add up, and the dead letter
    /// is open again.
    pub fn merge(&mut self, again: NewDeadLetter, at: Timestamp) {
        self.attempts = self.attempts.saturating_add(again.attempts);
        for failure in again.earlier.into_iter().chain([again.failure]) {
            note_failure(&mut self.history, failure, Self::MAX_HISTORY);
        }
        self.fingerprint = again.fingerprint;
        self.replay_id = again.replay_id.or_else(|| self.replay_id.take());
        self.parked |= again.parked;
        self.state = DeadLetterState::Open;
        self.reason = None;
        self.updated_at = at;
    }
}

/// Returns a short digest that is equal for similar failures: 12 hexadecimal digits. It covers the event type and the
/// outermost error. Words with a digit, such as ids and numbers, do not count.
///
/// ```
/// use event_replay_domain::dead_letter::fingerprint;
/// let one = fingerprint("user.registered", "user 17 is unknown (request 0c3fe1a2-77aa)");
/// assert_eq!(one, fingerprint("user.registered", "user 99 is unknown (request 9b1d33ff-01bc)"));
/// assert_ne!(one, fingerprint("user.registered", "the mail server is gone"));
/// ```
pub fn fingerprint(event_type: &str, error: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(event_type);
    hasher.update([0]);
    for word in error.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_' || c == '.')) {
        let varies = word.chars().any(|c| c.is_ascii_digit());
        hasher.update(if varies { "#" } else { word });
        hasher.update(" ");
    }
    crate::hex(&hasher.finalize()[..6])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_shortened_from_its_last_cause_on() {
        let of = |errors: &[&str]| Failure {
            at: Timestamp::UNIX_EPOCH,
            errors: errors.iter().map(|error| (*error).to_owned()).collect(),
        };
        assert_eq!(of(&["no", "its cause"]).shortened(), of(&["no", "its cause"]));
        let long = "é".repeat(300);
        let shortened = of(&["no", &long, "its cause"]).shortened();
        assert_eq!(shortened.errors.len(), 2);
        assert_eq!(shortened.errors[1], format!("{}…", "é".repeat(255)));
    }

    #[test]
    fn a_history_keeps_the_first_failure_and_the_last() {
        let mut history = Vec::new();
        for n in 0..9 {
            let at = Timestamp::from_second(n).unwrap_or_default();
            note_failure(&mut history, Failure { at, errors: Vec::new() }, 4);
        }
        let seconds: Vec<i64> = history.iter().map(|failure| failure.at.as_second()).collect();
        assert_eq!(seconds, [0, 6, 7, 8]);
    }
}
