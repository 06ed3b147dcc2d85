//! The result of a validation: valid or not, and all violations.

use domain::Violation;

/// The result of a validation of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationResult {
    /// Whether there are no errors.
    pub is_valid: bool,
    /// All violations, sorted by pointer. An event whose type has no schema has one error that states this.
    pub errors: Vec<Violation>,
}

impl From<Vec<Violation>> for ValidationResult {
    fn from(errors: Vec<Violation>) -> Self {
        Self { is_valid: errors.is_empty(), errors }
    }
}
