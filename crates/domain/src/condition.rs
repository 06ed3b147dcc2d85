//! A condition on an event's content that no index answers, such as `data.amount > 100`.

use crate::event::Event;

/// A compiled condition. The language is the adapter's; the domain knows its text and its verdicts.
///
/// Laws: `holds` MUST be a pure function of the event's bytes; an event that lacks what the condition names MUST NOT
/// satisfy it (and is no error), as a row with a null does not satisfy a WHERE clause.
pub trait Condition: Send + Sync + std::fmt::Debug {
    /// The text it was compiled from; compiling it again gives the same verdicts.
    fn text(&self) -> &str;

    /// Whether the event satisfies the condition.
    fn holds(&self, event: &Event) -> bool;
}
