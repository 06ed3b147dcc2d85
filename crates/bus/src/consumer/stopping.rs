//! The way in which a consumer must end, if it must.

/// The kind of stop that was requested of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// No stop was requested. The consumer runs.
    No,
    /// The consumer ends. Running handlers may finish within its grace.
    InOrder,
    /// The consumer ends. Running handlers are dropped at their next `await`.
    AtOnce,
}
