//! A condition on the content of an event that no index answers, such as `data.amount > 100`.

use crate::event::Event;

/// A compiled condition. The adapter defines the language. The domain uses only the text and the result.
///
/// Laws: `holds` MUST be a pure function of the event's bytes. An event that lacks a member that the condition names
/// MUST NOT satisfy the condition, and this is no error. SQL has the same rule: a row with a null does not satisfy a
/// WHERE clause.
pub trait Condition: Send + Sync + std::fmt::Debug {
    /// Returns the source text of the condition. A condition compiled from this text gives the same results.
    fn text(&self) -> &str;

    /// Returns whether the event satisfies the condition.
    fn holds(&self, event: &Event) -> bool;
}
