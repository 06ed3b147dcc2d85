//! Whether and how a consumer is to end.

/// How a consumer was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// Nothing: it goes on.
    No,
    /// It ends, and running handlers have its grace.
    InOrder,
    /// It ends, and running handlers are dropped at their next `await`.
    AtOnce,
}
