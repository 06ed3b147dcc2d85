//! Dead letters: deliveries that a group gave up on, each with its event, its history and what became of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{event::Event, position::Position};

/// What has become of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadLetterState {
    /// It waits for an operator.
    Open,
    /// It is on its way to its consumer again.
    Redriving,
    /// A redrive was handled.
    Handled,
    /// An operator decided that it is not to be handled.
    Discarded,
}

impl DeadLetterState {
    /// Whether nothing more is to come.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Handled | Self::Discarded)
    }
}

/// One attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// What the handler said, the outermost error first and then its causes.
    pub errors: Vec<String>,
}

impl Failure {
    /// Bytes of text that are kept of a failure while its delivery is tried again: there may be many such deliveries.
    pub const MAX_EARLIER_BYTES: usize = 512;

    /// The failure as it is kept while its delivery is tried again: the outermost errors, shortened.
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

    /// About what it takes.
    pub fn size_bytes(&self) -> usize {
        self.errors.iter().map(|error| error.len() + 8).sum::<usize>() + 32
    }
}

/// Most failures that are kept of a delivery that is tried again.
pub const MAX_EARLIER_FAILURES: usize = 5;

/// Adds a failure to a history of at most `most`: the first says most about the cause, so those right after it go.
pub fn note_failure(history: &mut Vec<Failure>, failure: Failure, most: usize) {
    if history.len() >= most.max(2) {
        history.remove(1);
    }
    history.push(failure);
}

/// A delivery that a group gives up on, as the consumer reports it. The event itself the store takes from its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDeadLetter {
    /// Where the event is.
    pub position: Position,
    /// How often it was tried.
    pub attempts: u32,
    /// The last failure.
    pub failure: Failure,
    /// Failures of the attempts before it, as [`note_failure`] keeps them.
    pub earlier: Vec<Failure>,
    /// See [`fingerprint`].
    pub fingerprint: String,
    /// The replay that delivered it, if one did.
    pub replay_id: Option<String>,
    /// Whether its key waits behind it.
    pub parked: bool,
}

impl NewDeadLetter {
    /// The open letter that a store keeps of it, under an id that the store draws.
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

/// A dead letter. There is one for each group and position: repeats merge.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its id.
    pub id: String,
    /// The group that gave up.
    pub group: String,
    /// Where the event is, or was: the event below stays when the log is trimmed.
    pub position: Position,
    /// The event.
    pub event: Event,
    /// What has become of it.
    pub state: DeadLetterState,
    /// How often the event was tried, redrives included.
    pub attempts: u32,
    /// How each attempt failed, the oldest first: of more than [`DeadLetter::MAX_HISTORY`] the first and the last. Of the attempts
    /// before a delivery was given up on there are at most [`MAX_EARLIER_FAILURES`], the first and the last. An attempt that
    /// ended its process left no failure.
    pub history: Vec<Failure>,
    /// What is the same for failures that are alike.
    pub fingerprint: String,
    /// The replay that last delivered it, if one did.
    pub replay_id: Option<String>,
    /// Whether its key waits behind it.
    pub parked: bool,
    /// When the group first gave up on it.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Why it was discarded, if it was.
    pub reason: Option<String>,
    /// What an operator made of the event; a redrive sends that.
    pub edit: Option<LetterEdit>,
}

/// An event that a redrive sends in place of the one that the group gave up on, which stays as it is.
#[derive(Debug, Clone)]
pub struct LetterEdit {
    /// The event as it is sent: of the same id, type and entities.
    pub event: Event,
    /// Who edited it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Why, if that was said.
    pub reason: Option<String>,
}

impl DeadLetter {
    /// Most failures that its history holds.
    pub const MAX_HISTORY: usize = 20;

    /// The event that a redrive sends.
    pub fn redriven_event(&self) -> &Event {
        self.edit.as_ref().map_or(&self.event, |edit| &edit.event)
    }

    /// The last failure.
    pub fn last_failure(&self) -> Option<&Failure> {
        self.history.last()
    }

    /// Takes a further failure of the same delivery in: the attempts add up, and the letter is open again.
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

/// A short text that is equal for alike failures: of the event's type and the outermost error, with whatever looks like an
/// id or a number taken out.
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
    hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
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
