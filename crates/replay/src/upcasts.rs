//! The events of a plan that are upcast before their delivery.

use domain::{Event, UpcastError};
use serde::{Deserialize, Serialize};

/// The most failures that a plan names.
const MAX_FAILURES: usize = 5;

/// The events of a plan that are upcast before their delivery.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanUpcasts {
    /// The number of events that need upcasting.
    pub events: u64,
    /// The number of these events that cannot be upcast. A run counts them as failed.
    pub failed: u64,
    /// The same numbers by type and version.
    pub by_version: Vec<UpcastCount>,
    /// The first events that cannot be upcast, at most 5.
    pub failures: Vec<FailedUpcast>,
}

/// The events of one type and version that need upcasting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpcastCount {
    /// The event type.
    pub event_type: String,
    /// The stored version.
    pub from: String,
    /// The version after upcasting.
    pub to: String,
    /// The number of events.
    pub events: u64,
    /// The number of these events that cannot be upcast.
    pub failed: u64,
}

/// An event that cannot be upcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedUpcast {
    /// The id of the event.
    pub event_id: String,
    /// The event type.
    pub event_type: String,
    /// The error.
    pub error: String,
}

impl PlanUpcasts {
    /// Returns whether no event of the plan needs upcasting.
    pub fn is_none(&self) -> bool {
        self.events == 0
    }

    /// Counts an event whose version has an upcaster. `to` is the version after upcasting.
    pub(crate) fn add(&mut self, event: &Event, to: &str, failure: Option<&UpcastError>) {
        let failed = u64::from(failure.is_some());
        self.events += 1;
        self.failed += failed;
        // The versions are few, because each of them has an upcaster.
        let place = self.by_version.binary_search_by(|count| {
            (count.event_type.as_str(), count.from.as_str()).cmp(&(event.event_type(), event.version()))
        });
        let at = place.unwrap_or_else(|at| {
            let (event_type, from) = (event.event_type().to_owned(), event.version().to_owned());
            let count = UpcastCount { event_type, from, to: to.to_owned(), events: 0, failed: 0 };
            self.by_version.insert(at, count);
            at
        });
        if let Some(count) = self.by_version.get_mut(at) {
            count.events += 1;
            count.failed += failed;
        }
        if let Some(failure) = failure.filter(|_| self.failures.len() < MAX_FAILURES) {
            self.failures.push(FailedUpcast {
                event_id: failure.event_id.clone(),
                event_type: failure.event_type.clone(),
                error: failure.to_string(),
            });
        }
    }
}
