//! One thing that is wrong with an event, in words that let its publisher fix it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A rule that an event breaks: where, which rule, and a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Violation {
    /// JSON Pointer (RFC 6901) to the offending member of the event; for a missing member, where it should be.
    /// Empty for the event as a whole.
    pub pointer: String,
    /// The rule's short name: a JSON Schema keyword (`required`, `type`, …) or one of ours (`json`, `limit`, `schema`, …).
    pub rule: Cow<'static, str>,
    /// A sentence for people. It quotes no more of the event than a short excerpt.
    pub message: String,
}

impl Violation {
    /// Builds a violation.
    ///
    /// ```
    /// let v = event_replay_domain::Violation::new("/data/email", "required", "\"email\" is required");
    /// assert_eq!(v.pointer, "/data/email");
    /// ```
    pub fn new(
        pointer: impl Into<String>,
        rule: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self { pointer: pointer.into(), rule: rule.into(), message: message.into() }
    }

    /// The violation of an event whose type has no schema. The sentence is part of the CLI's contract.
    pub fn no_schema(event_type: &str) -> Self {
        Self::new("/type", "schema", format!("No schema found for event type: {event_type}"))
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.pointer.is_empty() {
            write!(f, "{} ({})", self.message, self.rule)
        } else {
            write!(f, "{}: {} ({})", self.pointer, self.message, self.rule)
        }
    }
}
