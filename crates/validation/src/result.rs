//! The plain answer: valid or not, and everything that is wrong.

use domain::Violation;

/// What validation says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationResult {
    /// Whether there are no errors.
    pub is_valid: bool,
    /// All that is wrong, sorted by pointer. An event whose type has no schema has one error that says so.
    pub errors: Vec<Violation>,
}

impl From<Vec<Violation>> for ValidationResult {
    fn from(errors: Vec<Violation>) -> Self {
        Self { is_valid: errors.is_empty(), errors }
    }
}
