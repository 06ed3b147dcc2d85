//! One result of a health check.

use serde::Serialize;
use serde_json::Number;

/// A check and its result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The name of the check, in lower-case words and dashes.
    pub name: &'static str,
    /// The verdict of the check.
    pub status: Status,
    observed: Option<Number>,
    threshold: Option<Number>,
    unit: Option<&'static str>,
    /// The result, as a sentence.
    pub message: String,
}

/// The verdict of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// No problem was found.
    Pass,
    /// An operator should look at the store soon.
    Warn,
    /// An operator must act now.
    Fail,
}

impl Check {
    /// Makes a check without a measured value.
    pub fn new(name: &'static str, status: Status, message: impl Into<String>) -> Self {
        Self { name, status, observed: None, threshold: None, unit: None, message: message.into() }
    }

    /// Sets the measured value and its unit.
    #[must_use]
    pub fn observed(mut self, observed: impl Into<Number>, unit: &'static str) -> Self {
        (self.observed, self.unit) = (Some(observed.into()), Some(unit));
        self
    }

    /// Sets the value from which the check does not pass.
    #[must_use]
    pub fn threshold(mut self, threshold: impl Into<Number>) -> Self {
        self.threshold = Some(threshold.into());
        self
    }
}

/// Rounds a measured value to two decimal places.
pub(crate) fn measured(value: f64) -> Number {
    Number::from_f64((value * 100.0).round() / 100.0).unwrap_or_else(|| Number::from(0))
}
