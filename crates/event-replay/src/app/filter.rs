//! Which events a request selects: one set of members, the same in every front end.

use std::sync::Arc;

use conditions::ConditionError;
use domain::{Entity, Filter, TypePattern, filter::FilterError};
use jiff::Timestamp;
use thiserror::Error;

/// Which events. Members are ANDed; the values of one member are ORed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilterRequest {
    /// Types; `*` stands for any characters.
    pub types: Vec<String>,
    /// Sources.
    pub sources: Vec<String>,
    /// Correlation ids.
    pub correlation_ids: Vec<String>,
    /// Entities that events name.
    pub entities: Vec<Entity>,
    /// Event ids.
    pub event_ids: Vec<String>,
    /// CEL expressions; several are ANDed.
    pub conditions: Vec<String>,
    /// The earliest time, included.
    pub from: Option<Timestamp>,
    /// The latest time, included.
    pub to: Option<Timestamp>,
}

/// Why a filter is refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FilterRequestError {
    /// A condition does not compile.
    #[error("{0}")]
    Condition(ConditionError),
    /// The range is empty, or another member makes no sense.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl FilterRequest {
    /// The filter that it comes to.
    ///
    /// # Errors
    /// When a condition does not compile, or the range ends before it begins.
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

    /// Several conditions are one like several members: they are ANDed.
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
