//! Documents of erasures.

use domain::ports::Erased;
use serde::Serialize;

/// The result of an erasure, or of its dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasureDocument {
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// The entities.
    pub entities: Vec<String>,
    /// The number of events that named one of the entities.
    pub erased: u64,
    /// The size of their JSON in bytes. Missing in a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Places where copies may remain.
    pub remains: Vec<String>,
}

impl ErasureDocument {
    /// Makes the document of a dry run.
    pub fn preview(entities: Vec<String>, events: u64) -> Self {
        Self { dry_run: true, entities, erased: events, bytes: None, remains: vec![] }
    }

    /// Makes the document of an erasure.
    pub fn of(entities: Vec<String>, erased: Erased) -> Self {
        Self {
            dry_run: false,
            entities,
            erased: erased.events,
            bytes: Some(erased.bytes),
            remains: erased.remains,
        }
    }
}
