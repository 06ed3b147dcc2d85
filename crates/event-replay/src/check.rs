//! One thing that health looked at.

use serde::Serialize;
use serde_json::Number;

/// A check, and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// Its name, of lower-case words and dashes.
    pub name: &'static str,
    /// What it says.
    pub status: Status,
    observed: Option<Number>,
    threshold: Option<Number>,
    unit: Option<&'static str>,
    /// What was found, in a sentence.
    pub message: String,
}

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Pass,
    /// It is worth a look.
    Warn,
    /// It needs attention now.
    Fail,
}

impl Check {
    /// A check that measured nothing.
    pub fn new(name: &'static str, status: Status, message: impl Into<String>) -> Self {
        Self { name, status, observed: None, threshold: None, unit: None, message: message.into() }
    }

    /// With what was measured.
    #[must_use]
    pub fn observed(mut self, observed: impl Into<Number>, unit: &'static str) -> Self {
        (self.observed, self.unit) = (Some(observed.into()), Some(unit));
        self
    }

    /// With the value from which on it is worth a look.
    #[must_use]
    pub fn threshold(mut self, threshold: impl Into<Number>) -> Self {
        self.threshold = Some(threshold.into());
        self
    }
}

/// A measured value, with two digits after the point.
pub(crate) fn measured(value: f64) -> Number {
    Number::from_f64((value * 100.0).round() / 100.0).unwrap_or_else(|| Number::from(0))
}
