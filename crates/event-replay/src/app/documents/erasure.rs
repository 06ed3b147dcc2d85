//! Erasures.

use domain::ports::Erased;
use serde::Serialize;

/// The result of an erasure, or its preview.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasureDocument {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// The entities.
    pub entities: Vec<String>,
    /// Events that named any of them.
    pub erased: u64,
    /// Bytes of their JSON; only of what was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Places that may still hold copies.
    pub remains: Vec<String>,
}

impl ErasureDocument {
    /// The preview of an erasure.
    pub fn preview(entities: Vec<String>, events: u64) -> Self {
        Self { dry_run: true, entities, erased: events, bytes: None, remains: vec![] }
    }

    /// The result of an erasure.
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
