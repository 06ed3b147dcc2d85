//! The events that a request selects. Every front end uses the same members.

use std::sync::Arc;

use conditions::ConditionError;
use domain::{Entity, Filter, TypePattern, filter::FilterError};
use jiff::Timestamp;
use thiserror::Error;

/// A selection of events. Members are combined with AND, the values of one member with OR.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterRequest {
    /// Event types; `*` matches any characters.
    pub types: Vec<String>,
    /// Sources.
    pub sources: Vec<String>,
    /// Correlation ids.
    pub correlation_ids: Vec<String>,
    /// Entities that events name.
    pub entities: Vec<Entity>,
    /// Event ids.
    pub event_ids: Vec<String>,
    /// CEL expressions. Several are combined with AND.
    pub conditions: Vec<String>,
    /// The earliest time, inclusive.
    pub from: Option<Timestamp>,
    /// The latest time, inclusive.
    pub to: Option<Timestamp>,
}

/// The reason for which a filter is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilterRequestError {
    /// A condition does not compile.
    #[error("{0}")]
    Condition(ConditionError),
    /// The range is empty, or another member is not valid.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl FilterRequest {
    /// Returns the filter.
    ///
    /// # Errors
    /// Returns [`FilterRequestError`] when a condition does not compile, or when the range ends before it begins.
    pub fn filter(&self) -> Result<Filter, FilterRequestError> {
        let mut filter = Filter {
            types: self.types.iter().map(TypePattern::new).collect(),
            sources: self.sources.iter().cloned().collect(),
            correlation_ids: self.correlation_ids.iter().cloned().collect(),
            event_ids: self.event_ids.iter().cloned().collect(),
            from: self.from,
            to: self.to,
            ..Filter::default()
        };
        for entity in &self.entities {
            filter.add_entity(entity.clone());
        }
        if let Some(text) = self.condition() {
            let condition = conditions::compile(&text).map_err(FilterRequestError::Condition)?;
            filter.condition = Some(Arc::clone(&condition));
        }
        filter.check()?;
        Ok(filter)
    }

    /// Combines several conditions with AND into one condition.
    fn condition(&self) -> Option<String> {
        match self.conditions.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => {
                let wrapped: Vec<String> = several.iter().map(|text| format!("({text})")).collect();
                Some(wrapped.join(" && "))
            }
        }
    }
}
