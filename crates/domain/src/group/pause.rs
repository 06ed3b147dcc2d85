//! Pauses: a paused group starts no deliveries.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A pause of a group. A group may have several pauses of different sources. The group is paused while at least one
/// pause is in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupPause {
    /// Source of the pause: [`GroupPause::OPERATOR`], or the circuit breaker of a consumer. A source has at most one
    /// pause.
    pub source: String,
    /// Start of the pause.
    pub since: Timestamp,
    /// Name of the person or consumer that paused the group.
    pub by: String,
    /// Reason of the pause.
    pub reason: Option<String>,
    /// End of the pause (exclusive). None: the pause lasts until it is resumed.
    pub until: Option<Timestamp>,
}

impl GroupPause {
    /// Source of a pause that an operator requested.
    pub const OPERATOR: &str = "operator";
    /// Prefix of the source of a pause that a consumer's circuit breaker requested.
    const BREAKER: &str = "breaker ";

    /// Returns the source of a pause that the circuit breaker of this consumer requests.
    pub fn of_breaker(consumer: &str) -> String {
        format!("{}{consumer}", Self::BREAKER)
    }

    /// Returns whether a circuit breaker requested the pause.
    pub fn is_of_breaker(&self) -> bool {
        self.source.starts_with(Self::BREAKER)
    }

    /// Returns whether the pause is in effect at a time.
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
