//! What a running consumer says of itself.

/// How a consumer stands, as of its last renewal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerState {
    /// The segments it works on.
    pub segments: Vec<u16>,
    /// How many it should have.
    pub share: u16,
}
