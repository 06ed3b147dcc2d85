//! Pauses: why a group hands nothing over for a while.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A pause of a group. A group may have several, of different sources; it is paused as long as one is in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupPause {
    /// What paused it: [`GroupPause::OPERATOR`], or the circuit breaker of a consumer. A source has one pause at most.
    pub source: String,
    /// Since when.
    pub since: Timestamp,
    /// Who paused it.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// From then on it is not in effect any more; none: until it is resumed.
    pub until: Option<Timestamp>,
}

impl GroupPause {
    /// The source of a pause that an operator asked for.
    pub const OPERATOR: &str = "operator";
    /// What begins the source of a pause that a consumer's circuit breaker asked for.
    const BREAKER: &str = "breaker ";

    /// The source of a pause that the circuit breaker of a consumer asks for.
    pub fn of_breaker(consumer: &str) -> String {
        format!("{}{consumer}", Self::BREAKER)
    }

    /// Whether a circuit breaker asked for it.
    pub fn is_of_breaker(&self) -> bool {
        self.source.starts_with(Self::BREAKER)
    }

    /// Whether it is in effect at a time.
    ///
    /// ```
    /// use event_replay_domain::group::GroupPause;
    /// use jiff::{SignedDuration, Timestamp};
    /// let since = Timestamp::UNIX_EPOCH;
    /// let until = since + SignedDuration::from_secs(5);
    /// let (source, by) = (GroupPause::OPERATOR.to_owned(), "ann".to_owned());
    /// let pause = GroupPause { source, since, by, reason: None, until: Some(until) };
    /// assert!(pause.is_in_effect(since) && !pause.is_in_effect(until));
    /// ```
    pub fn is_in_effect(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}
