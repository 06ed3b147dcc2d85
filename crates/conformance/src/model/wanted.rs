//! A filter of the model, evaluated on parsed JSON.

use std::{collections::BTreeMap, sync::Arc};

use domain::{Condition, Entity, Filter, TypePattern};
use jiff::Timestamp;
use serde_json::Value;

use crate::laws::filters::AtLeast;

#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    pub(super) types: Vec<String>,
    pub(super) sources: Vec<String>,
    pub(super) correlations: Vec<String>,
    pub(super) entities: Vec<(String, String)>,
    pub(super) ids: Vec<String>,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    /// Lowest value of `data.n`.
    pub(super) at_least: Option<i64>,
}

impl Wanted {
    /// Returns the filter for the store.
    pub(super) fn filter(&self) -> Arc<Filter> {
        let mut filter = Filter {
            types: self.types.iter().map(TypePattern::new).collect(),
            sources: self.sources.iter().cloned().collect(),
            correlation_ids: self.correlations.iter().cloned().collect(),
            event_ids: self.ids.iter().cloned().collect(),
            from: self.from,
            to: self.to,
            condition: self.at_least.map(|n| Arc::new(AtLeast(n)) as Arc<dyn Condition>),
            ..Filter::default()
        };
        for (kind, id) in &self.entities {
            filter.add_entity(Entity::new(kind, id));
        }
        Arc::new(filter)
    }

    /// Returns whether the store must find an event.
    pub(super) fn accepts(&self, event: &Value) -> bool {
        let one_of = |names: &[String], member: &str| {
            names.is_empty()
                || event[member].as_str().is_some_and(|text| names.iter().any(|name| name == text))
        };
        let happened: Timestamp = event["timestamp"].as_str().unwrap().parse().unwrap();
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (kind, id) in &self.entities {
            kinds.entry(kind).or_default().push(id);
        }
        accepts_type(&self.types, event)
            && one_of(&self.sources, "source")
            && one_of(&self.correlations, "correlationId")
            && one_of(&self.ids, "id")
            && self.from.is_none_or(|from| from <= happened)
            && self.to.is_none_or(|to| happened <= to)
            && self.at_least.is_none_or(|least| event["data"]["n"].as_i64().is_some_and(|n| n >= least))
            && kinds.iter().all(|(kind, ids)| names(event, kind).is_some_and(|id| ids.contains(&id)))
    }
}

/// Returns the entity of a kind that an event names.
pub(super) fn names<'a>(event: &'a Value, kind: &str) -> Option<&'a str> {
    event[format!("{kind}Id")].as_str()
}

pub(super) fn accepts_type(patterns: &[String], event: &Value) -> bool {
    let event_type: Vec<char> = event["type"].as_str().unwrap().chars().collect();
    let fits = |pattern: &String| fits(&pattern.chars().collect::<Vec<_>>(), &event_type);
    patterns.is_empty() || patterns.iter().any(fits)
}

/// Matches a pattern. A star matches nothing, or one character and then the same star again.
fn fits(pattern: &[char], text: &[char]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some(('*', rest)), None) => fits(rest, text),
        (Some(('*', rest)), Some((_, shorter))) => fits(rest, text) || fits(pattern, shorter),
        (Some((wanted, pattern)), Some((found, text))) => wanted == found && fits(pattern, text),
        _ => false,
    }
}
