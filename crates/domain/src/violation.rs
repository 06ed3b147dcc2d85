//! Violations: a violation is one reason for which an event is refused. Its message lets the publisher correct the
//! event.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// A rule that an event breaks: a pointer, the name of the rule, and a sentence.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Violation {
    /// JSON Pointer (RFC 6901) to the member that breaks the rule. For a missing member, it is the place of that
    /// member. It is empty for the event as a whole.
    pub pointer: String,
    /// Short name of the rule. It is a JSON Schema keyword (`required`, `type`, …) or a name of this project (`json`,
    /// `limit`, `schema`, …).
    pub rule: Cow<'static, str>,
    /// Sentence for people. It quotes at most a short excerpt of the event.
    pub message: String,
}

impl Violation {
    /// Returns a violation with these parts.
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

    /// Returns the violation of an event whose type has no schema. The sentence is part of the CLI's contract.
    pub fn no_schema(event_type: &str) -> Self {
        Self::new("/type", "schema", format!("No schema found for event type: {event_type}"))
    }

    /// Returns whether the reason is that the event's type has no schema.
    ///
    /// ```
    /// use event_replay_domain::Violation;
    /// assert!(Violation::no_schema("order.placed").is_no_schema());
    /// assert!(!Violation::new("/type", "required", "\"type\" is required").is_no_schema());
    /// ```
    pub fn is_no_schema(&self) -> bool {
        self.pointer == "/type" && self.rule == "schema"
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
